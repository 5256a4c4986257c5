"""The largest eigenvalue is the full Hessian's."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from tests.tiny import READABLE64, SPACES, play, shrunk, start
from workbench import methods
from workbench.bilevel import LiveBilevel
from workbench.engine import Machine
from workbench.probes import HessianEigenvalue, largest_eigenvalue
from workbench.run import Run
from workbench.spaces.supernet import Supernet

BOTH = pytest.mark.parametrize("space", SPACES)


def trained(space: str, machine: Machine = READABLE64) -> Run:
    run = start(shrunk(methods.darts), SPACES[space], machine=machine)
    play(run)
    return run


def measured(run: Run, products: int) -> float:
    return float(run.measure(HessianEigenvalue(products), run.clock)["hessian_eigenvalue"])


def full_hessian(run: Run) -> Tensor:
    """Row by row, on the last held-out batch."""
    bilevel = LiveBilevel(run, *run.last_batches)
    loss = bilevel.loss(list(bilevel.weights), bilevel.val)
    grads = torch.autograd.grad(loss, bilevel.alphas, create_graph=True)
    slope = torch.cat([grad.flatten() for grad in grads])
    rows = (torch.autograd.grad(x, bilevel.alphas, retain_graph=True) for x in slope)
    return torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


@BOTH
def test_the_eigenvalue_is_the_full_hessians(space):
    run = trained(space)
    hessian = full_hessian(run)
    want = float(torch.linalg.eigvalsh(hessian)[-1])
    assert want > 0
    torch.testing.assert_close(hessian, hessian.t())
    assert measured(run, len(hessian)) == pytest.approx(want, rel=1e-9)
    assert measured(run, 12) == pytest.approx(want, rel=1e-4)
    assert measured(run, 1) < want


@pytest.mark.parametrize(
    ("engine", "recompute"),
    [
        ("auto", False),
        ("batched", True),
        pytest.param("auto", True, marks=pytest.mark.long),
        pytest.param("batched", False, marks=pytest.mark.long),
    ],
)
@BOTH
def test_both_supernets_have_the_same_eigenvalue(space, engine, recompute):
    fast = trained(space, Machine("cpu", "float64", engine=engine, recompute=recompute))
    assert not isinstance(fast.net, Supernet)
    assert measured(fast, 12) == pytest.approx(measured(trained(space), 12), rel=1e-8)


def test_measuring_again_gives_the_same_and_leaves_no_trace():
    run = trained("nasbench201")
    before = {name: value.clone() for name, value in run.net.state_dict().items()}
    assert measured(run, 5) == measured(run, 5)
    assert all(torch.equal(value, before[name]) for name, value in run.net.state_dict().items())
    assert all(alpha.grad is None for alpha in run.arch.parameters())


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("spectrum", [(3.0, 1.0, -5.0, 0.5), (0.0, -1.0, -2.0, 0.0)])
def test_lanczos_finds_the_largest_eigenvalue_not_the_largest_in_size(spectrum):
    draw = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(4, 4, generator=draw)).Q
    matrix = axes @ torch.diag(torch.tensor(spectrum)) @ axes.t()
    product = partial(torch.mv, matrix)
    first = torch.randn(4, generator=draw)
    assert float(largest_eigenvalue(product, first, 4)) == pytest.approx(max(spectrum), abs=1e-9)
    assert float(largest_eigenvalue(product, first, 9)) == pytest.approx(max(spectrum), abs=1e-9)
    values = [float(largest_eigenvalue(product, first, n)) for n in (1, 2, 3, 4)]
    assert values == sorted(values)  # from below


def test_a_loss_without_curvature_has_eigenvalue_0():
    assert float(largest_eigenvalue(torch.zeros_like, torch.ones(3), 3)) == 0
    with pytest.raises(ValueError, match="products"):
        HessianEigenvalue(0)
