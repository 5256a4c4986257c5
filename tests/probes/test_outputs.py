"""What operations put out, and hooks that go again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.probes.runs import measured, trained, without_one_op
from tests.tiny import SPACES
from workbench import methods
from workbench.engine import Machine
from workbench.parts.edges import AuxiliarySkip, PartialChannels, SkipDropout, WeightedSum
from workbench.parts.normalised import NodeNorm
from workbench.parts.single_op import SingleOp
from workbench.probes import OpOutputs, SeenEdge, watching
from workbench.spaces.supernet import Supernet

BOTH = pytest.mark.parametrize("space", SPACES)
EDGES = {
    "plain": WeightedSum,
    "partial": PartialChannels(2),
    "auxiliary": AuxiliarySkip(),
    "dropout": SkipDropout(0.5),
    "normalised": NodeNorm(WeightedSum),
    "nested": AuxiliarySkip(edge=PartialChannels(2)),
    "single": SingleOp(),
}
ANY_EDGE = pytest.mark.parametrize("edge", EDGES.values(), ids=EDGES)


def hooks(net: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in net.modules())


def seen_edges(run) -> list[SeenEdge]:
    net, seen = run.readable().train(), []
    with torch.no_grad(), watching(net, seen.append):
        net(run.last_batches[1].images, run.mix, run.clock.t)
    return seen


@BOTH
@ANY_EDGE
def test_shares_of_an_edge_sum_to_one(space, edge):
    run = trained(space, method=methods.darts.but(edge=edge))
    found = measured(run, OpOutputs())
    for kind, share in found["op_share"].items():
        assert len(share) == len(run.space.cell(kind).edges)
        torch.testing.assert_close(share.nansum(1), torch.ones_like(share[:, 0]))


def test_values_are_those_written_out():
    run = trained("nasbench201")
    found = measured(run, OpOutputs())
    cell = run.space.cell("cell")
    layers = sorted({seen.layer for seen in seen_edges(run)})
    assert len(layers) == 3
    want = {n: torch.zeros_like(rows["cell"]) for n, rows in found.items()}
    for seen in seen_edges(run):
        y = sum(seen.weights[op] * out for op, out in seen.ops.items()).flatten()
        torch.testing.assert_close(seen.mixed.flatten(), y)
        for column, op in enumerate(cell.columns):
            o = seen.ops[op].flatten()
            want["op_norm"][seen.edge, column] += o.norm() / len(o) ** 0.5 / len(layers)
            want["op_share"][seen.edge, column] += (
                seen.weights[op] * (o @ y) / (y @ y) / len(layers)
            )
            cosine = (o @ y) / (o.norm() * y.norm())
            want["op_cosine"][seen.edge, column] += cosine / len(layers)
    for name, rows in want.items():
        torch.testing.assert_close(found[name]["cell"], rows, equal_nan=True)
    none = cell.columns.index("none")
    assert (found["op_norm"]["cell"][:, none] == 0).all()
    assert (found["op_share"]["cell"][:, none] == 0).all()
    assert torch.isnan(found["op_cosine"]["cell"][:, none]).all()


@BOTH
def test_both_supernets_say_the_same(space):
    readable, fast = (
        measured(trained(space, Machine("cpu", "float64", engine=engine)), OpOutputs())
        for engine in ("readable", "batched")
    )
    for name, rows in readable.items():
        for kind in rows:
            torch.testing.assert_close(
                rows[kind], fast[name][kind], equal_nan=True, rtol=1e-6, atol=1e-9
            )


def test_what_was_pruned_is_nan_and_the_rest_share_its_part():
    run = without_one_op()
    found = measured(run, OpOutputs())
    for name in ("op_norm", "op_share"):
        assert torch.isnan(found[name]["cell"]).nonzero().tolist() == [[0, 3]]
    assert float(found["op_share"]["cell"][0].nansum()) == pytest.approx(1)


@ANY_EDGE
def test_an_edge_is_seen_with_what_its_node_gets(edge):
    run = trained("darts", method=methods.darts.but(edge=edge))
    seen = seen_edges(run)
    net = run.readable()
    cells = [(i, block) for i, block in enumerate(net.blocks) if hasattr(block, "edges")]
    want = [(block.kind, i, e) for i, block in cells for e in range(len(block.edges))]
    assert [(s.kind, s.layer, s.edge) for s in seen] == want
    plain = isinstance(edge, (SkipDropout, NodeNorm, SingleOp)) or edge is WeightedSum
    assert all((s.output is s.mixed) == plain for s in seen)


def test_hooks_are_gone_afterwards_and_after_an_error():
    run = trained("darts")
    net = run.readable()
    seen_edges(run)
    assert hooks(net) == 0

    def stop(seen: SeenEdge) -> None:
        raise ArithmeticError("enough")

    with pytest.raises(ArithmeticError), watching(net, stop):
        net(run.last_batches[1].images, run.mix)
    assert hooks(net) == 0
    with watching(net, stop):
        assert hooks(net) > 0


def test_hooks_are_gone_where_an_edge_cannot_be_watched():
    class Opaque(nn.Module):
        def forward(self, x, row, t):
            return x

        def drop(self, alive):
            pass

    space = SPACES["nasbench201"]
    built = iter([WeightedSum] * 3 + [lambda ops, channels, stride: Opaque()] * 99)
    net = Supernet(space, edge=lambda *args: next(built)(*args))
    with pytest.raises(ValueError, match="Opaque keeps its operations in no"), watching(net, print):
        pass
    assert hooks(net) == 0
    with pytest.raises(TypeError, match="not of a Linear"), watching(nn.Linear(1, 1), print):
        pass
