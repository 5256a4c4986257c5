"""The state after a step: what the search goes on with once operations went behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tiny import SPACES, shrunk, start, told
from workbench import analysis, comparison, methods
from workbench.events import EpochEnded, SearchEvent
from workbench.method import Method
from workbench.parts.arch_optimizers import Adam
from workbench.parts.perturbation import Perturbation
from workbench.parts.pruners import BelowShare
from workbench.parts.relaxations import Sigmoid
from workbench.protocols import Mixtures
from workbench.search import epoch_of
from workbench.trace import Run, open_run, record
from workbench.trace.latest import settled

SHARP = shrunk(methods.asap_small, epochs=4).but(
    arch_optimizer=Adam(lr=0.3), pruner=BelowShare(share=0.95)
)
TRIED = shrunk(methods.darts_pt_small, epochs=5).but(pruner=Perturbation())
GATES = TRIED.but(relaxation=Sigmoid())


def recorded(method: Method, path: Path) -> tuple[Run, list[Mixtures]]:
    """A search that was recorded, and the weights it went on with after every epoch."""
    stage, kept = start(method, SPACES["darts"]), []

    def events() -> Iterator[SearchEvent]:
        yield stage.started()
        for epoch in range(stage.stage.epochs):
            for event in told(epoch_of(stage, epoch, ())):
                yield event
                if isinstance(event, EpochEnded):
                    kept.append(stage.mix)
        yield stage.derived()

    list(record(events(), path))
    return open_run(path), kept


def rows_of(mixtures: Mixtures, run: Run) -> np.ndarray:
    """`(edge, op)` on the axes of a run whose kinds have the same operations."""
    rows: list[Tensor] = [mixtures[kind].ops for kind in dict.fromkeys(run.trace["kind"].values)]
    return torch.cat(rows).numpy()


@pytest.mark.parametrize("method", [SHARP, TRIED, GATES], ids=["softmax", "perturbed", "sigmoid"])
def test_every_epoch_ends_with_the_weights_that_the_search_goes_on_with(
    tmp_path: Path, method: Method
) -> None:
    run, kept = recorded(method, tmp_path / "run")
    assert run.prunings["epoch"].nunique() > 1
    ends = settled(run.at_epoch_ends())["mix"].to_numpy()
    np.testing.assert_allclose(ends, [rows_of(mix, run) for mix in kept], rtol=1e-5)
    last = settled(run).isel(step=-1)
    np.testing.assert_array_equal(run.latest["mix"], last["mix"])
    np.testing.assert_array_equal(run.latest["alive"], last["alive"])


def test_measures_at_the_ends_of_epochs_are_after_their_prunings(tmp_path: Path) -> None:
    run, _ = recorded(SHARP, tmp_path / "run")
    share = run.epochs["alive"] / int(run.starts["alive"].sum())
    assert share.is_monotonic_decreasing
    assert share.nunique() > 2
    np.testing.assert_allclose(comparison.per_epoch(run, "alive_share"), share)


def test_an_edge_that_a_pruning_decides_is_decided_at_its_step(tmp_path: Path) -> None:
    run, _ = recorded(TRIED, tmp_path / "run")
    alive = analysis.support(run).pivot_table(index="step", columns="edge", values="alive")
    at = analysis.decision_step(run).set_index("edge")["step"]
    decided = run.prunings.groupby("edge")["step"].min()
    alone = alive.columns[alive.iloc[-1] == 1]
    assert len(alone) > 1
    assert (alive.loc[:, alone] == 1).idxmax().to_dict() == decided[alone].to_dict()
    assert (at[alone] <= decided[alone]).all()
