"""First logits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from workbench.parts.inits import Constant, Normal, Uniform
from workbench.spaces.darts import darts
from workbench.spaces.nasbench201 import nasbench201


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("space", [darts(), nasbench201()])
@pytest.mark.parametrize("init", [Normal(), Constant(), Uniform()])
def test_every_kind_gets_a_row_per_edge_and_a_column_per_operation(
    init: object, space: object
) -> None:
    logits = init(space, None, generator())
    assert tuple(logits) == space.kinds
    for cell in space.cells:
        assert logits[cell.kind].shape == (len(cell.edges), len(cell.columns))


def test_normal_logits_have_the_scale_of_darts_and_follow_the_seed() -> None:
    first, again, other = (Normal()(darts(nodes=40), None, generator(seed)) for seed in (0, 0, 1))
    for kind in ("normal", "reduce"):
        assert first[kind].std().item() == pytest.approx(1e-3, rel=0.05)
        assert first[kind].mean().abs() < 1e-4
        assert torch.equal(first[kind], again[kind])
        assert not torch.equal(first[kind], other[kind])
    assert not torch.equal(first["normal"], first["reduce"])


def test_scale_is_the_standard_deviation() -> None:
    one, ten = (Normal(scale)(darts(), None, generator()) for scale in (1.0, 10.0))
    torch.testing.assert_close(ten["normal"], 10 * one["normal"])


def test_mean_is_added_to_every_logit() -> None:
    zero, one = (Normal(0.01, mean)(darts(), None, generator()) for mean in (0.0, 1.0))
    torch.testing.assert_close(one["reduce"], zero["reduce"] + 1)
    assert zero["reduce"].abs().max() < 0.1


def test_constant_logits_are_equal() -> None:
    assert (Constant()(darts(), None, generator())["normal"] == 0).all()
    assert (Constant(0.5)(darts(), None, generator())["reduce"] == 0.5).all()


def test_uniform_weights_share_an_edge_among_its_candidates() -> None:
    whole = Uniform()(nasbench201(), None, generator())["cell"]
    assert torch.equal(whole, torch.full_like(whole, 1 / 5))
    cell = nasbench201().cell("cell")
    first = ("none", "skip_connect")
    space = replace(nasbench201(), cells=(replace(cell, ops=(first, *cell.ops[1:])),))
    rows = Uniform()(space, None, generator())["cell"]
    columns = space.cell("cell").columns
    assert rows[0].tolist() == [0.5 if op in first else 0.0 for op in columns]
    assert torch.equal(rows[1:], whole[1:])
