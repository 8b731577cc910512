"""The error tree. Final: trying again changes nothing. Retryable: it may go through later."""


class DomsError(Exception):
    """Anything doms itself raises; the message says what to do."""


class FinalError(DomsError):
    """Asking again would give the same answer."""


class RetryableError(DomsError):
    """The same call may go through later; `retry_after` seconds, where the other side said so."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Keep the message and the other side's own waiting time in seconds."""
        super().__init__(message)
        self.retry_after = retry_after


class IllegalTransitionError(FinalError):
    """A unit, a status or a document cannot go that way."""


class UnknownReferenceError(FinalError):
    """An order, node, SKU or connection of that id is not known."""


class ConflictError(FinalError):
    """What is asked contradicts what is already recorded."""


class ShortageError(FinalError):
    """Stock or capacity is not there; `short` names the (node, SKU) pairs that refused."""

    def __init__(self, message: str, *, short: tuple[tuple[str, str], ...] = ()) -> None:
        """Keep the (node id, SKU) pairs, or (node id, '') for capacity."""
        super().__init__(message)
        self.short = short


class RefusedError(FinalError):
    """The other side understood and said no; its own words are the message."""


class OutsideUnavailableError(RetryableError):
    """The other side could not be reached, was overloaded or failed."""
