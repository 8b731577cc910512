"""The time-skipping server, and a fresh world for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.testing import WorkflowEnvironment

from tests.workflow.server import (
    BINARY,
    TEMPORAL,
    development_server,
    time_skipping_server,
    world_on,
)
from tests.workflow.world import World


@pytest_asyncio.fixture
async def skipping_server() -> AsyncIterator[WorkflowEnvironment]:
    """A server whose time jumps; a new one for each test, since time never goes back."""
    if not BINARY.exists():
        pytest.skip(f"no {BINARY}: run make install")
    async with time_skipping_server() as server:
        yield server


@pytest_asyncio.fixture
async def world(
    skipping_server: WorkflowEnvironment, sqlite_template: Path, tmp_path: Path
) -> AsyncIterator[World]:
    """A world at work, with an empty network: call `prepare` and `stock`."""
    async with world_on(skipping_server, sqlite_template, tmp_path) as world:
        yield world


@pytest_asyncio.fixture
async def dev_world(sqlite_template: Path, tmp_path: Path) -> AsyncIterator[World]:
    """A world on a real server, where time passes as it does."""
    if not TEMPORAL.exists():
        pytest.skip(f"no {TEMPORAL}: run make install")
    async with (
        development_server() as server,
        world_on(server, sqlite_template, tmp_path, is_versioned=True) as world,
    ):
        yield world
