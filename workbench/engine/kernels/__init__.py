"""Kernels that Numba compiles from Python on first use, and keeps on disk."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def forget_stale(folder: Path) -> None:
    """Remove what was compiled before any of a folder's sources last changed.

    Numba looks only at the file of the function itself, not at those that it calls.
    """
    newest = max(source.stat().st_mtime for source in folder.glob("*.py"))
    compiled = [*(folder / "__pycache__").glob("*.nbi")]
    if elsewhere := os.environ.get("NUMBA_CACHE_DIR"):  # in a folder called after this one
        compiled += Path(elsewhere).glob(f"{folder.name}_*/*.nbi")
    for index in compiled:
        with suppress(FileNotFoundError):  # another process, which does the same, was first
            if index.stat().st_mtime < newest:
                index.unlink()


forget_stale(Path(__file__).parent)
