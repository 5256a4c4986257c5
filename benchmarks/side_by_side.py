"""Methods side by side on digits: what is left, who leads, how good, how long.

`python benchmarks/side_by_side.py [--seeds N] [--methods A B …] [--out DIR]` searches with the
demo's settings and evaluates every genotype.  Each method gets the same number of weight steps: one
that holds half the images back for the alphas runs twice the epochs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd

from workbench import methods
from workbench.analysis import summary
from workbench.evaluate_config import EvaluateConfig
from workbench.evaluating import run_evaluation
from workbench.tasks import DEMO, run_search


def main() -> None:
    """Run every method with every seed, each into a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["darts", "entmax3_prune_single_level"])
    parser.add_argument("--out", type=Path, default=Path("runs/side_by_side"))
    given = parser.parse_args()
    rows = [
        _row(method, seed, given.out / f"{method}-{seed}")
        for seed in range(given.seeds)
        for method in given.methods
    ]
    table = pd.DataFrame(rows)
    print(table.round(2).to_string(index=False))
    figures = table.drop(columns=["seed"]).groupby("method", sort=False)
    print(figures.agg(["mean", "std"]).round(2).T.to_string())


def _row(method: str, seed: int, out: Path) -> dict[str, object]:
    portion = methods.named()[method].stages[-1].train_portion
    changes = {"method": method, "seed": seed, "epochs": round((DEMO.epochs or 1) / portion)}
    started = time.process_time()
    run = run_search(DEMO.model_copy(update={**changes, "out": out}))
    seconds = time.process_time() - started
    run = run_evaluation(run.path, EvaluateConfig(seed=seed))
    found = summary(run)
    last = run.epochs.iloc[-1]
    return {
        "method": method,
        "seed": seed,
        "ops left per edge": found["alive_per_edge"],
        "none leads (%)": 100 * found["none_share"],
        "skip leads (%)": 100 * found["skip_share"],
        "supernet accuracy (%)": 100 * last["accuracy_train"],
        "test accuracy (%)": 100 * (found["test_accuracy"] or 0),
        "parameters": found["parameters"],
        "search wall (s)": found["seconds"],
        "search CPU (s)": seconds,
    }


if __name__ == "__main__":
    main()
