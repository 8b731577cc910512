"""Times as every answer writes them: UTC, with a Z."""

from datetime import UTC, datetime


def utc_text(at: datetime) -> str:
    """The time for a program, to the microsecond where it has any."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def told_time(at: datetime) -> str:
    """The time for a sentence, in whole seconds."""
    return utc_text(at.replace(microsecond=0))
