"""kill -9 of every part, at random moments, while orders flow: nothing is lost, doubled, astray."""

import json
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from starter.commands.stack import Addresses
from starter.supervisor import is_owned
from tests.e2e.system import (
    QUICK,
    Doms,
    Machine,
    business_order,
    doms_command,
    environment_of,
    events,
    order,
    running,
    settings_in,
    wait_for,
)

pytestmark = pytest.mark.slow

ORDERS = 50
SEED = 20_260_302
SHORT = 0.02
"""`doms up` waits so much shorter than its policies say: the remorse window is half a second."""
PATIENCE = 150.0
"""Seconds: a step that died with its worker is tried again after 30 s."""
KILLED = (
    *("worker", "api", "temporal", "simulator-wms", "worker", "simulator-carrier", "api"),
    *("temporal", "worker", "simulator-pos", "simulator-threepl"),
)
MESSAGES = 500
"""About how many starts, webhooks and reports the orders make in their lives."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Doms, Machine]]:
    with running(tmp_path_factory.mktemp("chaos")) as both:
        yield both


@pytest.mark.timeout(500)
def test_every_order_ends_as_it_should_whatever_is_killed(stack: tuple[Doms, Machine]) -> None:
    # given
    doms, machine = stack
    doms.turn_all(
        time_scale=4 * QUICK, duplicate_webhook_rate=0.1, by_reference=dict(misfortunes())
    )
    before = on_hand(doms)
    documents = fifty_orders()
    # when
    killer = threading.Thread(target=kill_in_turn, args=(doms, machine))
    killer.start()
    for document in documents:
        submit_until_taken(doms, document)
    killer.join()
    ids = [document["order_id"] for document in documents]
    wait_for(
        lambda: closed(doms, ids) == len(ids),
        "every order ends",
        PATIENCE,
        shown=lambda: still_open(doms),
    )
    # then
    assert Counter(machine.supervisor.restarts()) >= Counter(KILLED)
    assert stages(doms) == dict.fromkeys(ids, "completed")
    assert order_workflows(doms) == Counter(ids)
    doms.nothing_is_astray(*ids)
    assert on_hand(doms) + ordered(documents) == before, "each unit that is gone was ordered"


@pytest.mark.timeout(500)
def test_orders_accepted_while_temporal_is_away_are_started_once_it_is_back(
    stack: tuple[Doms, Machine],
) -> None:
    # given
    doms, machine = stack
    doms.behave()
    documents = [order(f"A-{n}", ("JEANS-BLUE-32", 1)) for n in range(1, 7)]
    ids = [document["order_id"] for document in documents]
    # when
    with machine.away("temporal"):
        doms.accept(*documents)
        assert [doms.submit(document).status_code for document in documents] == [200] * 6
        wait_for(lambda: not claimed(doms), "the dispatcher waits for Temporal")
        assert {doms.page(order_id)["stage"] for order_id in ids} == {"received"}
        machine.kill("api")
    # then
    for order_id in ids:
        doms.completed(order_id)
        assert events(doms.history(f"order-{order_id}"))["WORKFLOW_EXECUTION_STARTED"] == 1
    doms.nothing_is_astray(*ids)


@pytest.mark.timeout(500)
def test_a_killed_supervisor_is_followed_by_another_and_open_orders_go_on(tmp_path: Path) -> None:
    # given
    settings = settings_in(tmp_path)
    ids = [f"U-{n}" for n in range(1, 7)]
    with up(settings) as (first, doms):
        doms.turn_all(time_scale=QUICK, step_seconds={"pick": 8.0})
        doms.accept(*(order(x, ("SANDAL-39", 1)) for x in ids))
        for order_id in ids[:2]:
            doms.until_status(order_id, "acknowledged")
        # when
        first.kill()
        first.wait()
        assert not is_owned(tmp_path)
        # then
        with up(settings) as (second, again):
            for order_id in ids:
                again.completed(order_id)
            again.nothing_is_astray(*ids)
            second.send_signal(signal.SIGINT)
            assert second.wait(60) == 0
    assert processes_of(tmp_path) == []


# --- the orders and their misfortunes ------------------------------------------------------------


def fifty_orders() -> list[dict[str, Any]]:
    """Orders of every kind; all of them can be delivered."""
    made: list[Callable[[str], dict[str, Any]]] = [
        lambda x: order(x, ("TEE-BLACK-M", 2)),
        lambda x: order(x, ("TENT-2P", 1), ("COFFEE-1KG", 1), city="Dallas"),
        lambda x: order(x, ("MUG-BLUE", 1, "2"), ("CAP-NAVY", 1), pickup_at="store-chicago"),
        lambda x: order(x, ("BOTTLE-STEEL", 12), city="Phoenix"),
        lambda x: order(x, ("HEADPHONES-BT", 1), ("VASE-GLASS", 3)),
        lambda x: business_order(x, ("TEA-GREEN", 10), price="8.90"),
    ]
    return [made[n % len(made)](f"K-{n}") for n in range(1, ORDERS + 1)]


def misfortunes() -> Iterator[tuple[str, dict[str, Any]]]:
    """Nodes that reject or pick short the first time: other nodes must help."""
    for n in (7, 10, 17):
        yield f"K-{n}-1", {"rejection_rate": 1.0}
    for n in (6, 8, 15, 24):
        yield f"K-{n}-1", {"lost_answer_rate": 1.0, "lost_answer_status": 500}


def kill_in_turn(doms: Doms, machine: Machine) -> None:
    """One after the other, each when so much has happened: at any speed, while orders flow."""
    chance = random.Random(SEED)  # noqa: S311 (no secret)
    moments = sorted(chance.sample(range(5, MESSAGES * 3 // 4), len(KILLED)))
    for name, moment in zip(KILLED, moments, strict=True):
        wait_for(partial(has_seen, doms, moment), f"{moment} messages came", PATIENCE)
        wait_for(partial(machine.runs, name), f"{name} runs again")
        time.sleep(chance.uniform(0.0, 0.3))
        machine.kill(name)


def submit_until_taken(doms: Doms, document: dict[str, Any]) -> None:
    """As a shop does: an answer that did not come is asked for again with the same document."""

    def taken() -> bool:
        return doms.submit(document).status_code in {200, 202}

    wait_for(taken, f"{document['order_id']} is taken")


# --- what has become of them ---------------------------------------------------------------------


def has_seen(doms: Doms, messages: int) -> bool:
    """Whether so many starts, signals and webhooks were kept so far."""
    return bool(doms.sql("SELECT count(*) FROM messages")[0][0] >= messages)


def closed(doms: Doms, ids: list[str]) -> int:
    rows = doms.sql("SELECT order_id FROM orders WHERE closed")
    return len({row[0] for row in rows} & set(ids))


def claimed(doms: Doms) -> bool:
    """Whether a dispatcher holds messages: one that is killed now keeps them for a while."""
    return bool(doms.sql("SELECT 1 FROM messages WHERE claimed_until IS NOT NULL"))


def still_open(doms: Doms) -> list[tuple[Any, ...]]:
    return doms.sql("SELECT order_id, displayed, awaits FROM orders WHERE NOT closed")


def stages(doms: Doms) -> dict[str, str]:
    rows = doms.sql("SELECT order_id, stage FROM orders WHERE order_id LIKE 'K-%'")
    return {row[0]: row[1] for row in rows}


def order_workflows(doms: Doms) -> Counter[str]:
    """How many workflow runs the server knows of each order."""
    ids = doms.workflow_ids("WorkflowType = 'OrderWorkflow'")
    return Counter(x.removeprefix("order-") for x in ids if x.startswith("order-K-"))


def on_hand(doms: Doms) -> Counter[str]:
    """Units that lie at any node in any condition, by SKU."""
    rows = doms.sql("SELECT sku, sum(usable + damaged + suspect) FROM positions GROUP BY sku")
    return Counter({row[0]: row[1] for row in rows})


def ordered(documents: list[dict[str, Any]]) -> Counter[str]:
    units: Counter[str] = Counter()
    for document in documents:
        for line in document["lines"]:
            units[line["sku"]] += line["quantity"]
    return units


# --- `doms up` as a process ----------------------------------------------------------------------


@contextmanager
def up(settings: Settings) -> Iterator[tuple[subprocess.Popen[str], Doms]]:
    """`doms up` once it has said where everything is; stopped at the end if it still runs."""
    process = subprocess.Popen(
        doms_command("up", "--json"),
        env={**environment_of(settings), "DOMS_TIMINGS_SCALE": str(SHORT)},
        cwd=settings.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        told = json.loads(process.stdout.readline())
        doms = Doms(
            settings,
            Addresses(told["api"], told["temporal"], told["temporal_ui"], told["simulators"]),
        )
        yield process, doms
        doms.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


def processes_of(home: Path) -> list[str]:
    """Names of processes that run for that home."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(home).encode() in (folder / "environ").read_bytes():
                found.append((folder / "comm").read_text().strip())
    return found
