from collections.abc import Iterator

import pytest

from tests.e2e.system import Doms, running


@pytest.fixture(scope="package")
def whole_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doms]:
    """Server, store, simulators, worker and API, started once for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        # Subscribers of order events are servers of the tests.
        patch.setenv("DOMS_EVENTS_PRIVATE_NETWORKS", "127.0.0.0/8")
        with running(tmp_path_factory.mktemp("whole-stack")) as (doms, _):
            yield doms


@pytest.fixture
def doms(whole_stack: Doms) -> Iterator[Doms]:
    """The running stack, whose simulators behave well at the start of each test."""
    yield whole_stack
    whole_stack.behave()
