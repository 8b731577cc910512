"""Remembers which orders of an input were accepted, so that a stopped run goes on where it was."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self


class Journal:
    """Marks of the accepted orders of one input at one API, in a file of their own, one a line.

    Use it as a context manager. It only saves work: the API itself takes an order once.
    """

    def __init__(self, folder: Path, source: Path, url: str) -> None:
        """Keep the journal in `folder`; another content, place or API has a journal of its own."""
        self.path = folder / f"{_key(source, url)}.journal"
        self.accepted: set[str] = set()
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        """Read what was accepted before."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            # A line that a kill cut short is nothing that was accepted for certain.
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            self.accepted = {line.rstrip("\n") for line in lines if line.endswith("\n")}
            if lines and not lines[-1].endswith("\n"):
                self.path.write_text("".join(lines[:-1]), encoding="utf-8")
        self._file = self.path.open("a", encoding="utf-8", buffering=1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file, which stays for the next run."""
        if self._file is not None:
            self._file.close()

    def add(self, mark: str) -> None:
        """The API accepted the order of that mark (no line break in it)."""
        if mark not in self.accepted:
            self.accepted.add(mark)
            if self._file is not None:
                self._file.write(f"{mark}\n")

    def forget(self) -> None:
        """Start anew: the API does not know the orders (its database was replaced)."""
        self.accepted.clear()
        if self._file is not None:
            self._file.truncate(0)


def _key(source: Path, url: str) -> str:
    digest = hashlib.sha256(f"{url}\n{source.resolve()}\n".encode())
    for path in _files(source):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def _files(source: Path) -> Iterator[Path]:
    if source.is_dir():
        yield from sorted(path for path in source.iterdir() if path.is_file())
    else:
        yield source
