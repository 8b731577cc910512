"""`doms demo --exit --json`: what a person sees on a fresh machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.system import Ran, environment_of, settings_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LONGEST_SECONDS = 400
"""A busy machine may need longer than the demo waits for its last order (see starter/demo.py)."""
DOMS = (
    "import sys; from starter import cli, demo;"
    f" demo.LONGEST_SECONDS = {LONGEST_SECONDS}; sys.exit(cli.main())"
)


def test_the_demo_ends_by_itself_with_every_order_as_planned(tmp_path: Path) -> None:
    # given
    home = tmp_path / "demo"
    # when
    done = subprocess.run(
        [sys.executable, "-c", DOMS, "demo", "--exit", "--json", "--home", str(home)],
        env=environment_of(settings_in(tmp_path)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    # then
    ran = Ran(done.returncode, done.stdout, done.stderr)
    assert ran.status == 0, ran.err[-3_000:]
    told = ran.last_json
    assert told["unfinished"] == []
    assert told["unexpected"] == []
    assert (told["oversold_units"], told["duplicate_shipments"]) == (0, 0)
    assert told["orders"] >= 60
    assert sum(told["by_status"].values()) == told["orders"]
    assert told["by_status"]["pending_approval"] == 2
    assert {"completed", "cancelled", "rejected"} <= set(told["by_status"])
    assert 0 < told["seconds"] < LONGEST_SECONDS
    assert not (home / "processes.json").exists(), "everything it started was stopped"
