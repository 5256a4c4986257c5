"""What this process had freed goes back to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Hand over what is free in the C library's heap; nothing where that is not glibc's.

    Between what stays, room is left by what was there for a moment: a search whose state was put
    together again and again would seem to grow.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
