"""The benchmark of a step runs and says what it should; no time is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
KEYS = {
    "name", "device", "variant", "alive", "seconds", "spread", "ratio", "peak_bytes", "operations",
}  # fmt: skip


def test_the_step_benchmark_measures_both_supernets():
    row = "digits C=8 L=3 single level"
    options = ["--quick", "--json", "--device", "cpu", "--batch", "4", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "step.py", *options, "--rows", row],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["machine"]["threads"] == 1
    readable, fast = told["rows"]
    assert (readable["variant"], fast["variant"]) == ("readable", "fast")
    assert readable["ratio"] == 1
    for each in (readable, fast):
        assert each.keys() == KEYS
        assert each["name"].startswith(row)
        assert each["device"] == "cpu"
        assert each["alive"] == 1
        assert each["seconds"] > 0
        assert each["peak_bytes"] > 0
    assert 0 < fast["operations"] < readable["operations"]
