"""How the kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

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
