"""YAML with the line and column of every value, for mistakes that a person can find."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

Path = tuple[str | int, ...]

_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"


@dataclass(frozen=True)
class Place:
    """Where something stands; both count from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Mistake:
    """What is wrong or doubtful, and where. `path` is the field's, '' for the whole document."""

    place: Place
    path: str
    message: str

    def __str__(self) -> str:
        """Line and column first, as editors read it."""
        told = f"{self.path}: {self.message}" if self.path else self.message
        return f"{self.place.line}:{self.place.column}: {told}"

    def as_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "line": self.place.line,
            "column": self.place.column,
            "path": self.path,
            "message": self.message,
        }


class YamlError(Exception):
    """The text is no YAML."""

    def __init__(self, mistake: Mistake) -> None:
        """Keep where reading ended and why."""
        super().__init__(str(mistake))
        self.mistake = mistake


@dataclass
class PlacedDocument:
    """A document's content; `mistakes` are keys that stand twice in one mapping or are no text."""

    content: Any
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def known(self, wanted: Sequence[str | int]) -> Path:
        """The part of that path which the document has.

        What a validator puts between, such as the tag of a union, is passed over.
        """
        found: Path = ()
        for part in wanted:
            if (*found, part) in self.values:
                found = (*found, part)
        return found

    def place_of(self, path: Path, *, key: bool = False) -> Place:
        """Where the value at a known path stands, or its key."""
        return self.keys.get(path, self.values[path]) if key else self.values[path]


def read_placed(text: str) -> PlacedDocument:
    """Read one YAML document of plain values. Raises YamlError."""
    try:
        loader = yaml.SafeLoader(text)
    except yaml.reader.ReaderError as error:
        before = text[: error.position].splitlines(keepends=True) or [""]
        place = Place(len(before), len(before[-1]) + 1)
        raise YamlError(Mistake(place, "", f"no YAML: {error.reason}")) from error
    try:
        root = loader.get_single_node()
        if root is None:
            return PlacedDocument(None, {(): Place(1, 1)})
        document = PlacedDocument(None)
        _Marker(document).mark(root, ())
        # Merged keys change the nodes: they are read after their places were taken.
        document.content = loader.construct_document(root)
    except yaml.YAMLError as error:
        raise YamlError(_syntax_mistake(error)) from error
    finally:
        loader.dispose()
    return document


def _syntax_mistake(error: yaml.YAMLError) -> Mistake:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
    return Mistake(place, "", f"no YAML: {getattr(error, 'problem', None) or error}")


class _Marker:
    """Notes where each value stands. A node that is used again has its first place only."""

    def __init__(self, document: PlacedDocument) -> None:
        self._document = document
        self._seen: set[int] = set()

    def mark(self, node: yaml.Node, path: Path) -> None:
        self._document.values[path] = _place(node)
        if id(node) in self._seen:
            return
        self._seen.add(id(node))
        for key, child, part in _children(node):
            if key is not None:
                self._note_key(key, (*path, part))
            self.mark(child, (*path, part))

    def _note_key(self, key: yaml.Node, path: Path) -> None:
        place = _place(key)
        first = self._document.keys.setdefault(path, place)
        if first != place:
            self._refuse(place, path, f"stands twice, first in line {first.line}")
        if key.tag != _TEXT:
            self._refuse(place, path, f'is no text as it stands: write "{path[-1]}"')

    def _refuse(self, place: Place, path: Path, message: str) -> None:
        self._document.mistakes.append(Mistake(place, dotted(path), message))


def _children(node: yaml.Node) -> Iterator[tuple[yaml.Node | None, yaml.Node, str | int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                yield key, value, key.value
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield None, value, position


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def dotted(path: Sequence[str | int]) -> str:
    """A path as people write it."""
    return ".".join(str(part) for part in path)
