import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from starter.supervisor import Program, Supervisor, SupervisorError, is_owned
from tests.integration.cli.conftest import lives, wait_for

FOREVER = (sys.executable, "-c", "import time; print('started', flush=True); time.sleep(600)")
STUBBORN = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('started', flush=True); time.sleep(600)",
)
WITH_CHILD = (
    sys.executable,
    "-c",
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(child.pid, flush=True); time.sleep(600)",
)
FAILING = (sys.executable, "-c", "print('no port is free'); raise SystemExit(3)")


def logged(supervisor: Supervisor, name: str) -> str:
    path = supervisor.log_path(name)
    return path.read_text() if path.exists() else ""


def started(supervisor: Supervisor, name: str, command: tuple[str, ...]) -> Program:
    return Program(name, command, is_ready=lambda: bool(logged(supervisor, name)))


def test_what_was_started_runs_until_the_end_and_writes_its_log(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(started(supervisor, "one", FOREVER), started(supervisor, "two", FOREVER))
        pids = supervisor.pids()

        assert logged(supervisor, "one") == "started\n"
        assert all(lives(pid) for pid in pids.values())
        assert is_owned(tmp_path)

    assert sorted(pids) == ["one", "two"]
    assert not any(lives(pid) for pid in pids.values())
    assert not is_owned(tmp_path)
    assert not (tmp_path / "processes.json").exists()


def test_a_process_that_dies_is_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    with Supervisor(tmp_path, said.append, first_pause=0.1) as supervisor:
        supervisor.start(started(supervisor, "one", FOREVER))
        first = supervisor.pids()["one"]
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: not lives(first), "the first process is gone")

        supervisor.watch(until=lambda: supervisor.restarts()["one"] == 1)

        second = supervisor.pids()["one"]
        assert second != first
        assert lives(second)
        assert json.loads((tmp_path / "processes.json").read_text())["one"]["pid"] == second
    assert said == ["one ended (status -9); starting it again in 0.1 s"]


def test_pauses_grow_while_a_process_keeps_dying(tmp_path: Path) -> None:
    said: list[str] = []
    once = (sys.executable, "-c", "pass")
    with Supervisor(tmp_path, said.append, first_pause=0.1) as supervisor:
        supervisor.start(Program("one", once))
        supervisor.watch(until=lambda: supervisor.restarts()["one"] == 3)

    assert [line.rpartition(" in ")[2] for line in said[:3]] == ["0.1 s", "0.2 s", "0.4 s"]


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(started(supervisor, "one", STUBBORN))
        pid = supervisor.pids()["one"]

        supervisor.stop(grace=0.2)

        assert not lives(pid)


def test_what_a_process_started_itself_does_not_outlive_it(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(started(supervisor, "one", WITH_CHILD))
        child = int(logged(supervisor, "one"))
        assert lives(child)

    wait_for(lambda: not lives(child), "the child is gone")


def test_a_process_that_ends_at_once_fails_the_start_with_its_last_words(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor, pytest.raises(SupervisorError) as refused:
        supervisor.start(
            started(supervisor, "good", FOREVER), Program("bad", FAILING, is_ready=lambda: False)
        )

    assert str(refused.value) == (
        f"bad ended at once (status 3): no port is free (see {tmp_path}/logs/bad.log)"
    )
    assert not supervisor.pids()


def test_a_process_that_is_not_ready_in_time_fails_the_start(tmp_path: Path) -> None:
    program = Program("slow", FOREVER, is_ready=lambda: False, ready_seconds=0.3)

    with (
        Supervisor(tmp_path) as supervisor,
        pytest.raises(SupervisorError, match=r"slow was not ready in 0 s"),
    ):
        supervisor.start(program)


def test_a_command_that_does_not_exist_fails_the_start(tmp_path: Path) -> None:
    with (
        Supervisor(tmp_path) as supervisor,
        pytest.raises(SupervisorError, match="one: cannot run /nowhere: No such file"),
    ):
        supervisor.start(Program("one", ("/nowhere",)))


def test_asking_to_stop_ends_a_start_that_waits(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        threading.Timer(0.2, supervisor.ask_to_stop).start()
        with pytest.raises(KeyboardInterrupt):
            supervisor.start(Program("slow", FOREVER, is_ready=lambda: False))


def test_a_second_supervisor_of_the_same_home_is_refused(tmp_path: Path) -> None:
    with (
        Supervisor(tmp_path),
        pytest.raises(SupervisorError) as refused,
        Supervisor(tmp_path),
    ):
        pass

    assert str(refused.value) == (
        f"doms already runs in {tmp_path} (process {os.getpid()}): stop it first, or choose "
        "another folder with --home"
    )


def test_what_a_killed_supervisor_left_behind_is_stopped_by_the_next(
    tmp_path: Path, killed_at_end: list[int]
) -> None:
    script = (
        "import sys; from pathlib import Path; from starter.supervisor import Program, Supervisor\n"
        "with Supervisor(Path(sys.argv[1])) as supervisor:\n"
        f"    supervisor.start(Program('one', {FOREVER!r}))\n"
        "    print(supervisor.pids()['one'], flush=True)\n"
        "    supervisor.watch()\n"
    )
    earlier = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert earlier.stdout is not None
    orphan = int(earlier.stdout.readline())
    killed_at_end.append(orphan)
    earlier.kill()
    earlier.wait()
    earlier.stdout.close()
    assert lives(orphan)

    said: list[str] = []
    with Supervisor(tmp_path, said.append):
        wait_for(lambda: not lives(orphan), "the orphan is gone")

    assert said == ["stopped what an earlier run left behind: one"]


def test_a_pid_that_belongs_to_another_process_now_is_left_alone(tmp_path: Path) -> None:
    stranger = {"one": {"pid": os.getpid(), "born": "1"}}
    (tmp_path / "processes.json").write_text(json.dumps(stranger))

    with Supervisor(tmp_path):
        assert lives(os.getpid())


def test_a_command_run_once_reports_how_it_failed(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.run_once(Program("good", (sys.executable, "-c", "pass")))
        with pytest.raises(SupervisorError, match=r"bad failed \(status 3\): no port is free"):
            supervisor.run_once(Program("bad", FAILING))


def test_an_environment_is_added_to_the_own_one(tmp_path: Path) -> None:
    show = (sys.executable, "-c", "import os; print(os.environ['DOMS_X'], 'PATH' in os.environ)")
    with Supervisor(tmp_path) as supervisor:
        supervisor.run_once(Program("one", show, {"DOMS_X": "given"}))

        assert logged(supervisor, "one") == "given True\n"
