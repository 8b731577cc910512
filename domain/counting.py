"""Numbers of things in sentences."""


def counted(number: int, what: str, one: str = "", many: str = "") -> str:
    """The number with its noun, and with a verb in the singular or plural: `1 unit waits`."""
    noun, verb = (what, one) if number == 1 else (f"{what}s", many)
    return f"{number} {noun} {verb}".rstrip()
