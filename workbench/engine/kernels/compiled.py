"""How the kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np
from numba import njit
from numba.core import config
from numba.core.compiler import Compiler

from workbench.leaving import may_leave

LEVEL = 2  # of LLVM's optimisations: as fast as level 3 here, compiled in 0.7 of the time


class _Compiler(Compiler):
    """Numba's own, at our level: what else a process compiles keeps its own."""

    def compile_extra(self, func: Callable[..., object]) -> Any:
        may_leave()
        settings = cast("Any", config)
        theirs, settings.OPT = settings.OPT, type(settings.OPT)(LEVEL)  # under Numba's lock
        try:
            return super().compile_extra(func)
        finally:
            settings.OPT = theirs


_compiled = partial(
    cast("Callable[..., Any]", njit), nogil=True, error_model="numpy", pipeline_class=_Compiler
)
# What Python calls, and pieces that only these call, and that are kept as part of them.
kernel = _compiled(cache=True, no_cfunc_wrapper=True)
piece = _compiled(no_cfunc_wrapper=True, no_cpython_wrapper=True)
LINE = 64  # bytes that a processor takes from its cache at once


@piece
def room(count, like):
    """Memory for `count` numbers of the format of `like`, from the start of a cache line on.

    A vector of 64 bytes that lies in two lines is two loads: from memory as NumPy hands it out,
    depthwise convolutions take 1.6 times as long.
    """
    lot = np.empty(count + LINE // like.itemsize, like.dtype)
    first = (-lot.ctypes.data % LINE) // like.itemsize
    return lot[first : first + count]


@piece
def cleared(count, like):
    """The same, of zeros."""
    numbers = room(count, like)
    numbers[:] = 0
    return numbers
