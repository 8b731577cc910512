"""Installing compiles the kernel, so that no start has to."""

import runpy
from unittest import mock


def test_compiling_ahead_decides_as_a_start_would() -> None:
    # given
    with mock.patch("domain.routing.solve.warm") as warm:
        # when
        runpy.run_module("domain.routing", run_name="__main__")
    # then
    warm.assert_called_once_with()
