"""The benchmarks as their users start them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def ran(name: str, options: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A script of `benchmarks/` that ended as it should."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / name, *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
