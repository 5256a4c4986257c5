"""Fake searches of two methods, some of them evaluated more than once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import fake_evaluation, fake_run
from workbench.events import Evaluated
from workbench.trace import Run, find_runs, record_evaluation


def evaluate(run: Run, accuracies: Sequence[float]) -> None:
    """Evaluations with the seeds 0, 1, … that end at these accuracies."""
    assert run.genotype is not None
    for seed, accuracy in enumerate(accuracies):
        events = (
            replace(event, test_accuracy=accuracy) if isinstance(event, Evaluated) else event
            for event in fake_evaluation(run.genotype)
        )
        list(record_evaluation(events, run.path, recipe={"seed": seed}))


def stage(name: str = "search", **parts: str) -> dict[str, str]:
    """A stage as `Method.describe` records it, cut to four parts."""
    return {"name": name, "epochs": "3", "relaxation": "Softmax()", "pruner": "None", **parts}


METHODS = {
    "darts": {"name": "darts", "paper": "a", "stages": [stage()], "derivation": "TopEdges(2)"},
    "entmax": {
        "name": "entmax",
        "paper": "b",
        "stages": [stage("warm", epochs="1"), stage(relaxation="Entmax(3)")],
        "derivation": "EdgeArgmax()",
    },
}
ACCURACIES = {
    ("darts", 0): [0.90, 0.92],
    ("darts", 1): [0.94, 0.96, 0.98],
    ("entmax", 0): [0.97],
    ("entmax", 1): [],
}


@pytest.fixture(scope="session")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two methods, two seeds each, with the accuracies of `ACCURACIES`."""
    place = tmp_path_factory.mktemp("fakes")
    for (method, seed), accuracies in ACCURACIES.items():
        machine = {"device": "cpu" if method == "darts" else "cuda"}
        config = {"method": method, "seed": seed, "epochs": 3, "threads": 1 + seed}
        meta = {"method": METHODS[method], "machine": machine, "config": config}
        path: Path = place / f"{method}-{seed}"
        run = fake_run(path, meta=meta, seed=seed, evaluated=False, prune=method == "entmax")
        evaluate(run, accuracies)
    return find_runs([place])
