"""Word of a brokering run's moves that does not reach the orders yet."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from store import outbox
from store.columns import statement
from store.engine import transaction
from tests.workflow.world import World

_LET_GO = statement("UPDATE messages SET next_at = :next_at WHERE name = :name", "messages")


@contextmanager
def word_held_back() -> Iterator[None]:
    """What runs tell meanwhile waits until `let_the_word_go`."""
    send = outbox.send

    def send_later(session: Any, to: str, signal: str, payload: Any, **facts: Any) -> bool:
        if signal == "replanned":
            facts["now"] += timedelta(days=365)
        return send(session, to, signal, payload, **facts)

    with patch.object(outbox, "send", send_later):
        yield


def let_the_word_go(world: World) -> None:
    """Now it is delivered."""
    with transaction(world.engine) as session:
        session.execute(_LET_GO, {"next_at": datetime.now(UTC), "name": "replanned"})
