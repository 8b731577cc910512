from collections.abc import Iterator

import pytest

from tests.integration.api.conftest import (  # noqa: F401 (fixtures)
    Clock,
    api,
    app,
    clock,
    filled,
    settings,
)
from tests.integration.events.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()
