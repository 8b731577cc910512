"""The kernel as Python runs it, so that coverage sees what is otherwise compiled."""

import sys
from types import ModuleType

import pytest


def kernel_modules() -> list[ModuleType]:
    return [x for name, x in sorted(sys.modules.items()) if name.startswith("domain.routing.")]


def run_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every compiled function of the kernel gives way to the Python it was compiled from."""
    for module in kernel_modules():
        for name, value in list(vars(module).items()):
            if hasattr(value, "py_func"):
                monkeypatch.setattr(module, name, value.py_func)
