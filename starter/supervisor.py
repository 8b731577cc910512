"""Keeps a set of processes running on this machine: starts, watches, restarts and stops them.

One supervisor owns a home folder (a lock there keeps a second one out). Every process runs in a
process group of its own, writes its output to `logs/<name>.log`, and is started again with growing
pauses when it dies. What a killed supervisor left behind is found in `processes.json` and stopped
by the next one.
"""

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from types import FrameType, TracebackType
from typing import IO, Self

from domain.errors import FinalError

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
HEALTHY_SECONDS = 60.0
"""A process that ran this long starts its pauses over."""
GRACE_SECONDS = 15.0
_TICK_SECONDS = 0.1
_LOG_KEPT_BYTES = 20_000_000


class SupervisorError(FinalError):
    """The processes cannot be started; the message says what to do."""


@dataclass(frozen=True)
class Program:
    """A process to keep running. `is_ready` is asked until it says yes, after each first start."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    is_ready: Callable[[], bool] = lambda: True
    ready_seconds: float = 240.0
    """A first start on a machine may have to compile the routing kernel: about a minute."""


@dataclass
class _Running:
    program: Program
    process: subprocess.Popen[bytes]
    started: float
    batch: int
    pause: float
    restart_at: float | None = None
    restarts: int = 0


class Supervisor:
    """Owns `home` and the processes started in it; use it as a context manager.

    `log` gets one line for whatever a person watching should know; `first_pause` in seconds is
    doubled each time a process dies again soon.
    """

    def __init__(
        self,
        home: Path,
        log: Callable[[str], None] = lambda line: None,
        first_pause: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        """Take nothing yet; entering takes the home."""
        self._first_pause = first_pause
        self._home = home
        self._log = log
        self._running: dict[str, _Running] = {}
        self._lock: IO[str] | None = None
        self._asked_to_stop = Event()
        self._batches = 0

    def __enter__(self) -> Self:
        """Take the home. Raises SupervisorError when another supervisor has it."""
        (self._home / "logs").mkdir(parents=True, exist_ok=True)
        self._lock = _take(self._home)
        left = _stop_left_behind(self._home)
        if left:
            self._log(f"stopped what an earlier run left behind: {', '.join(left)}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop every process, last started first, and give the home back."""
        self.stop()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def should_stop(self) -> bool:
        """Whether someone asked to stop (Ctrl-C or SIGTERM)."""
        return self._asked_to_stop.is_set()

    def ask_to_stop(self) -> None:
        """Make `watch` and every wait return soon."""
        self._asked_to_stop.set()

    def on_signals(self) -> None:
        """From now on Ctrl-C, SIGTERM and a closed terminal ask to stop; main thread only."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._signalled)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self.ask_to_stop()

    def start(self, *programs: Program) -> None:
        """Start the programs together and wait until each is ready.

        Raises SupervisorError with its last words when one exits or is not ready in time, and
        KeyboardInterrupt when someone asked to stop meanwhile.
        """
        self._batches += 1
        for program in programs:
            self._running[program.name] = _Running(
                program, self._spawn(program), time.monotonic(), self._batches, self._first_pause
            )
            self._remember()
        for program in programs:
            self._await_ready(self._running[program.name])

    def _await_ready(self, running: _Running) -> None:
        program = running.program
        deadline = time.monotonic() + program.ready_seconds
        while not program.is_ready():
            if self._asked_to_stop.wait(_TICK_SECONDS):
                raise KeyboardInterrupt
            self._refuse_dead()
            if time.monotonic() > deadline:
                raise SupervisorError(
                    f"{program.name} was not ready in {program.ready_seconds:.0f} s: "
                    f"{self.last_words(program.name)}"
                )

    def _refuse_dead(self) -> None:
        """While starting, a process that ends is an error, not something to start again."""
        for name, running in self._running.items():
            code = running.process.poll()
            if code is not None:
                raise SupervisorError(
                    f"{name} ended at once (status {code}): {self.last_words(name)}"
                )

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Keep the processes running until asked to stop or until `until` says so."""
        while not self._asked_to_stop.wait(_TICK_SECONDS) and not until():
            self.tend()

    def tend(self) -> None:
        """Look after every process once: start again what died and has paused long enough."""
        now = time.monotonic()
        for running in self._running.values():
            if running.restart_at is not None:
                if now >= running.restart_at:
                    self._restart(running, now)
            elif running.process.poll() is not None:
                self._note_death(running, now)

    def _note_death(self, running: _Running, now: float) -> None:
        # Whatever it had started itself must not outlive it.
        _signal_group(running.process.pid, signal.SIGKILL)
        if now - running.started > HEALTHY_SECONDS:
            running.pause = self._first_pause
        running.restart_at = now + running.pause
        self._log(
            f"{running.program.name} ended (status {running.process.returncode}); "
            f"starting it again in {running.pause:.1f} s"
        )
        running.pause = min(running.pause * 2, LONGEST_PAUSE_SECONDS)

    def _restart(self, running: _Running, now: float) -> None:
        running.process = self._spawn(running.program)
        running.started, running.restart_at = now, None
        running.restarts += 1
        self._remember()

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Stop every process, killing what does not end within the grace.

        What was started last stops first, what was started together stops together.
        """
        for batch in range(self._batches, 0, -1):
            processes = [one.process for one in self._running.values() if one.batch == batch]
            _stop_groups(processes, grace)
        self._running.clear()
        with suppress(FileNotFoundError):
            (self._home / "processes.json").unlink()

    def run_once(self, program: Program) -> None:
        """Run a program to its end. Raises like `start`, also when another process ends first."""
        process = self._spawn(program)
        try:
            while process.poll() is None:
                self._refuse_dead()
                if self._asked_to_stop.wait(_TICK_SECONDS):
                    raise KeyboardInterrupt
        finally:
            _stop_groups([process], GRACE_SECONDS)
        if process.returncode:
            raise SupervisorError(
                f"{program.name} failed (status {process.returncode}): "
                f"{self.last_words(program.name)}"
            )

    def pids(self) -> dict[str, int]:
        """Process id by name, of what runs now."""
        return {name: running.process.pid for name, running in self._running.items()}

    def restarts(self) -> dict[str, int]:
        """How often each process was started again."""
        return {name: running.restarts for name, running in self._running.items()}

    def log_path(self, name: str) -> Path:
        """Where that process writes."""
        return self._home / "logs" / f"{name}.log"

    def last_words(self, name: str) -> str:
        """The last line that process wrote, and where the others are."""
        path = self.log_path(name)
        try:
            lines = path.read_text(errors="replace").split("\n")
        except FileNotFoundError:
            lines = []
        said = [line.strip() for line in lines if line.strip()]
        return f"{said[-1] if said else 'it wrote nothing'} (see {path})"

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        try:
            with self._open_log(program.name) as output:
                return subprocess.Popen(  # noqa: S603 (commands are made here, never from input)
                    program.command,
                    env={**os.environ, **program.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise SupervisorError(
                f"{program.name}: cannot run {program.command[0]}: {error.strerror}"
            ) from error

    def _open_log(self, name: str) -> IO[bytes]:
        path = self.log_path(name)
        if path.exists() and path.stat().st_size > _LOG_KEPT_BYTES:
            path.replace(path.with_suffix(".old.log"))
        return path.open("ab")

    def _remember(self) -> None:
        """Keep pid and birth of each process, for a supervisor that comes after a kill -9."""
        processes = {
            name: {"pid": running.process.pid, "born": _born(running.process.pid)}
            for name, running in self._running.items()
        }
        path = self._home / "processes.json"
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(json.dumps(processes))
        unfinished.replace(path)


def _take(home: Path) -> IO[str]:
    lock = (home / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        owner = lock.read().strip() or "unknown"
        lock.close()
        raise SupervisorError(
            f"doms already runs in {home} (process {owner}): stop it first, or choose another "
            "folder with --home"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def is_owned(home: Path) -> bool:
    """Whether a supervisor runs in that home now."""
    try:
        with (home / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _stop_left_behind(home: Path) -> list[str]:
    try:
        processes = json.loads((home / "processes.json").read_text())
    except (FileNotFoundError, ValueError):
        return []
    alive = [
        (name, one["pid"])
        for name, one in processes.items()
        if one["born"] and _born(one["pid"]) == one["born"]
    ]
    for _, pid in alive:
        _signal_group(pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while any(_born(pid) for _, pid in alive) and time.monotonic() < deadline:
        time.sleep(_TICK_SECONDS)
    for _, pid in alive:
        _signal_group(pid, signal.SIGKILL)
    return [name for name, _ in alive]


def _stop_groups(processes: list[subprocess.Popen[bytes]], grace: float) -> None:
    for process in processes:
        _signal_group(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    for process in processes:
        # Also what the process had started itself and did not stop.
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _born(pid: int) -> str | None:
    """When a process started, so that a reused pid is told apart; None when it does not live."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else _born_by_ps(pid)
    state, *others = stat.rpartition(")")[2].split()
    return None if state == "Z" else others[18]


def _born_by_ps(pid: int) -> str | None:
    shown = subprocess.run(  # noqa: S603
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip() or None
