"""What holds for every activity, whatever it does."""

import importlib
import inspect
import pkgutil

from temporalio.activity import _Definition

import activities


def definitions() -> list[_Definition]:
    """Every activity there is."""
    modules = [
        importlib.import_module(f"activities.{found.name}")
        for found in pkgutil.iter_modules(activities.__path__)
    ]
    members = {
        member
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        for _, member in inspect.getmembers(kind, inspect.isfunction)
    }
    found = [_Definition.from_callable(member) for member in members]
    return [definition for definition in found if definition is not None]


def test_no_activity_is_stopped_in_the_middle_of_a_transaction() -> None:
    # A thread's cancel arrives anywhere, also between a commit and what must follow it.
    stoppable = [x.name for x in definitions() if not x.no_thread_cancel_exception]
    assert len(definitions()) > 20
    assert stoppable == []
