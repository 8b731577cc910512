"""What goes wrong with what other systems send; calls out raise `domain.errors`."""

from domain.errors import FinalError


class QuarantineError(FinalError):
    """A document or webhook that cannot be understood; the message says which field and why."""


class NothingToDoError(QuarantineError):
    """A document that can be understood, and of which doms has nothing to do."""


class BadSignatureError(FinalError):
    """A webhook that does not prove who sent it; nothing of it is kept."""
