"""`python -m integrations.simulators wms|pos|threepl|carrier ...`: one stand-in, as a process."""

import argparse
import logging
import os
import sqlite3
import sys
from pathlib import Path

import uvicorn
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.applications import Starlette

from integrations.reading import problems
from integrations.simulators.carrier import CarrierSimulator
from integrations.simulators.database import Database
from integrations.simulators.machine import Machine
from integrations.simulators.nodes import NodeSimulator, StoreSimulator, ThirdPartySimulator
from integrations.simulators.outbox import Outbox
from integrations.simulators.service import Simulator, build

KINDS = ("wms", "pos", "threepl", "carrier")


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped. Exit status 2: wrong use, with one line that says what to do."""
    options = _parser().parse_args(arguments)
    secret = os.environ.get(options.secret_env, "")
    if not secret:
        return _wrong(f"set the variable {options.secret_env} to the webhook secret (whsec_...)")
    api_key = os.environ.get(options.api_key_env) if options.api_key_env else None
    if options.api_key_env and not api_key:
        return _wrong(f"set the variable {options.api_key_env} to the API key callers must send")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        application = _application(options, secret, api_key)
    except ValidationError as bad:
        return _wrong(f"--knobs: {problems(bad)}")
    except (ValueError, OSError, sqlite3.Error) as bad:
        return _wrong(f"cannot start with these options and {options.database}: {bad}")
    config = uvicorn.Config(
        application,
        host=options.host,
        port=options.port,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    print(f"{options.kind} simulator of {options.connection}: http://{options.host}:{options.port}")
    uvicorn.Server(config).run()
    return 0


def _application(options: argparse.Namespace, secret: str, api_key: str | None) -> Starlette:
    Path(options.database).parent.mkdir(parents=True, exist_ok=True)
    database = Database(options.database)
    outbox = Outbox(database, secret)
    callback = f"{options.callback.rstrip('/')}/v1/webhooks/{options.connection}"
    is_new = database.document("knobs", "") is None
    machine = Machine(database, outbox, callback)
    if is_new and options.knobs:
        machine.turn(from_json(options.knobs))
    return build(_simulator(options, machine), outbox, api_key=api_key)


def _simulator(options: argparse.Namespace, machine: Machine) -> Simulator:
    if options.kind == "carrier":
        return CarrierSimulator(machine)
    kinds: dict[str, type[NodeSimulator]] = {
        "wms": NodeSimulator,
        "pos": StoreSimulator,
        "threepl": ThirdPartySimulator,
    }
    return kinds[options.kind](machine, carrier_url=options.carrier)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m integrations.simulators",
        description="Serve a stand-in for one outside system; see docs/simulators.md.",
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--database", required=True, help="SQLite file that keeps its state")
    parser.add_argument("--callback", required=True, help="where doms listens, without a path")
    parser.add_argument("--connection", required=True, help="the connection's id in doms")
    parser.add_argument("--secret-env", required=True, help="variable with the webhook secret")
    parser.add_argument("--api-key-env", default="", help="variable with a key callers must send")
    parser.add_argument("--carrier", default="", help="URL of the carrier that picks up parcels")
    parser.add_argument("--knobs", default="", help="JSON of knobs for a new database file")
    return parser


def _wrong(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
