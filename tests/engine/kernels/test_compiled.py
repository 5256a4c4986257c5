"""How kernels are compiled is no matter of what else is."""

from __future__ import annotations

from numba import njit, types
from numba.core import config
from numba.extending import intrinsic

from workbench.engine.kernels.compiled import LEVEL, piece


def test_kernels_are_compiled_at_their_own_level_and_others_at_theirs() -> None:
    levels = []

    @intrinsic
    def note(typingctx):
        def build(context, builder, sig, args):
            levels.append(int(vars(config)["OPT"]))
            return context.get_dummy_value()

        return types.void(), build

    @piece
    def ours():
        note()

    @njit
    def theirs():
        ours()
        note()

    theirs()
    assert levels == [LEVEL, 3]
    assert int(vars(config)["OPT"]) == 3
