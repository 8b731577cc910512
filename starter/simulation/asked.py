"""What a simulation is asked for on the command line."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from starter.bulk.format_names import Format

Period = tuple[datetime, datetime]


@dataclass(frozen=True)
class Asked:
    """What the command line says; `orders` or `history` is given."""

    policies: tuple[str, ...]
    orders: Path | None = None
    form: Format = Format.AUTO
    limit: int | None = None
    history: Period | None = None
    is_sample: bool = False
    network: Path | None = None
    catalogue: Path | None = None
    stock: Path | None = None
