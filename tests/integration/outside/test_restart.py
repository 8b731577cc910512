import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.node_system import NodeSystem
from integrations.registry import NodeSystems
from tests.integration.outside.world import HTTP, SECRETS, Receiver, Simulator, handover, wait_until


@pytest.fixture
def mortal(receiver: Receiver, tmp_path: Path) -> Iterator[Simulator]:
    """A warehouse of its own, to be killed."""
    simulator = Simulator("wms", tmp_path, receiver.url)
    simulator.start()
    simulator.wait()
    yield simulator
    simulator.stop()


def system_of(simulator: Simulator) -> NodeSystem:
    return NodeSystems(SECRETS).get(simulator.connection())


def test_after_a_kill_the_work_and_the_callbacks_go_on_where_they_were(
    mortal: Simulator, receiver: Receiver
) -> None:
    mortal.turn(by_reference={"K-1": {"step_seconds": {"pick": 100_000}}})
    receiver.failures["K-2-1"] = 1_000_000
    first = system_of(mortal).release(handover("K-1-1", 1))
    system_of(mortal).release(handover("K-2-1", 1))
    wait_until(lambda: "order_packed" in mortal.done("K-2-1"), "a packed order nobody heard of")
    waiting = mortal.get("/healthz")["waiting"]

    mortal.kill()
    receiver.failures["K-2-1"] = 0
    mortal.start()
    mortal.wait()

    assert waiting == {"steps": 1, "messages": 2}
    receiver.wait_for("K-2-1", "order.packed")
    assert receiver.told("K-2-1") == ["order.picked", "order.packed"]
    assert system_of(mortal).release(handover("K-1-1", 1)) == first
    assert mortal.done("K-1-1") == ["order_created"]
    assert mortal.get("/healthz")["waiting"] == {"steps": 1, "messages": 0}
    assert mortal.get("/knobs")["by_reference"] == {"K-1": {"step_seconds": {"pick": 100_000}}}


def test_killed_again_and_again_it_does_each_thing_once(
    mortal: Simulator, receiver: Receiver
) -> None:
    mortal.turn(time_scale=0.05)
    references = [f"M-{n}-1" for n in range(20)]
    for reference in references:
        system_of(mortal).release(handover(reference, 1))

    for _ in range(2):
        mortal.kill()
        mortal.start()
        mortal.wait()

    for reference in references:
        told = receiver.wait_for(reference, "order.packed")
        assert list(dict.fromkeys(x.headers["webhook-id"] for x in told)) == [
            f"{reference}.1.picked",
            f"{reference}.2.packed",
        ]
    counts = HTTP.get(f"{mortal.url}/ledger").json()["counts"]
    assert counts == {"order_created": 20, "order_picked": 20, "order_packed": 20}


def refused_start(database: Path, *options: str, secret: str) -> str:
    """What a process says that ends at once with status 2."""
    common = f"--database {database} --callback http://127.0.0.1:1 --connection c"
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "integrations.simulators", "wms", "--port", "1"),
            *(*common.split(), "--secret-env", "THE_SECRET", *options),
        ],
        env={**os.environ, "THE_SECRET": secret},
        capture_output=True,
        check=False,
        text=True,
    )
    assert ended.returncode == 2
    return ended.stderr


def test_a_simulator_without_its_secret_says_what_to_set(tmp_path: Path) -> None:
    assert refused_start(tmp_path / "x.db", secret="") == (
        "set the variable THE_SECRET to the webhook secret (whsec_...)\n"
    )


def test_a_simulator_says_in_one_line_why_it_cannot_start(
    mortal: Simulator, tmp_path: Path
) -> None:
    secret = SECRETS["OUTSIDE_SECRET"]

    bad_knob = refused_start(tmp_path / "x.db", "--knobs", '{"eror_rate": 1}', secret=secret)
    bad_secret = refused_start(tmp_path / "y.db", secret="é")
    in_use = refused_start(tmp_path / "wms.db", secret=secret)

    assert bad_knob == "--knobs: eror_rate: unknown field\n"
    assert bad_secret.endswith("a webhook secret is base64 text, such as whsec_MfKQ9r8G...\n")
    assert in_use.endswith("wms.db: database is locked\n")
    assert len((bad_secret + in_use).splitlines()) == 2
