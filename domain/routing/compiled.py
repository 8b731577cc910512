"""Functions compiled to machine code, kept on disk so that a process starts warm."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function as machine code; integers of 64 bits, arrays and named tuples of them only."""
    try:
        found = njit(cache=True, nogil=True)(function)
    except RuntimeError:
        # No folder that can be written to: each process compiles for itself.
        found = njit(nogil=True)(function)
    return cast(Function, found)
