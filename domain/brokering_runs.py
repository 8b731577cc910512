"""What is told of a brokering run: its work, what it moved, what that gained."""

from domain.values import Model, UtcTime


class Batch(Model):
    """Orders that are planned together: of one policy, and of one channel, which sees one stock."""

    policy: str
    channel: str
    order_ids: tuple[str, ...]


class BrokeringMove(Model):
    """An order that was moved, and why; costs in micros of the base currency."""

    order_id: str
    from_version: int
    to_version: int
    decision_id: str
    before_micros: int
    after_micros: int
    why: str
    moved_at: UtcTime


class BrokeringRun(Model):
    """What a run did. `seconds` once it is finished; `gain_micros` in the base currency."""

    run_id: str
    started_at: UtcTime
    finished_at: UtcTime | None
    looked_at: int
    moved: int
    gain_micros: int

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        if self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()
