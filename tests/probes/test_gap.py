"""What is lost between supernet and genotype."""

from __future__ import annotations

import pytest
import torch

from tests.probes.runs import decided, measured, trained
from tests.tiny import SPACES
from workbench import methods
from workbench.engine import Machine
from workbench.probes import DiscretisationGap, masked

ENGINES = pytest.mark.parametrize("engine", ["readable", "batched", "auto"])


@ENGINES
def test_a_supernet_that_is_one_hot_has_no_gap_at_all(engine):
    run = trained("nasbench201", Machine("cpu", engine=engine), decided())
    with torch.no_grad():
        for rows in run.arch.alpha.values():
            rows.copy_(1000.0 * torch.nn.functional.one_hot(rows.argmax(1), rows.shape[1]))
    run.mix = run.arch.mix(run.clock.t)
    found = measured(run, DiscretisationGap())
    assert found["loss_masked"] == found["loss_supernet"]
    assert found["accuracy_masked"] == found["accuracy_supernet"]


@ENGINES
@pytest.mark.parametrize("space", SPACES)
def test_masked_is_the_loss_under_the_genotypes_own_mixing_weights(space, engine):
    run = trained(space, Machine("cpu", "float64", engine=engine))
    found = measured(run, DiscretisationGap())
    trial = run.view(run.clock).trial
    mixtures = masked(run.space, run.derive(), run.mix)
    assert float(found["loss_masked"]) == trial.evaluate(mixtures)["loss"]
    assert float(found["loss_supernet"]) == trial.evaluate(run.mix)["loss"]
    assert found["loss_masked"] != found["loss_supernet"]


def test_the_mask_is_one_where_the_genotype_is_and_exactly_zero_elsewhere():
    run = trained("darts", method=methods.pc_darts)
    genotype = run.derive()
    mixtures = masked(run.space, genotype, run.mix)
    assert run.mix["normal"].edges is not None
    for cell in run.space.cells:
        assert mixtures[cell.kind].edges is None
        rows = mixtures[cell.kind].ops
        places = [(cell.edges[e], cell.columns[o]) for e, o in rows.nonzero().tolist()]
        genes = genotype.cell(cell.kind).genes
        assert sorted(places) == sorted(((g.src, g.dst), g.op) for g in genes)
        assert set(rows.unique().tolist()) == {0.0, 1.0}
