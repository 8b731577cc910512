"""Functions compiled to machine code, kept on disk so that a process starts warm."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function as machine code; integers of 64 bits, arrays and named tuples of them only."""
    return cast(Function, njit(cache=True, nogil=True)(function))
