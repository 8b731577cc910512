"""What every loader yields: one order document at a time, or why there is none."""

from dataclasses import dataclass
from typing import Any

from domain.errors import FinalError

Document = dict[str, Any]


class UnreadableInputError(FinalError):
    """The input as a whole cannot be read; the message says what to do."""


@dataclass(frozen=True)
class LoadedOrder:
    """An order document and the line of the file it starts on, or the error found there.

    `line_number` counts from 1. Exactly one of `document` and `error` is set; documents are checked
    only as far as the file's own form goes, the API checks the rest.
    """

    line_number: int
    document: Document | None = None
    error: str | None = None

    @property
    def order_id(self) -> str | None:
        """The document's order id, when it has one."""
        value = None if self.document is None else self.document.get("order_id")
        return value if isinstance(value, str) else None
