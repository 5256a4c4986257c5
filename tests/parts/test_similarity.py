"""What is most like its node's output is kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from tests.tiny import READABLE, READABLE64, SPACES, play, searched, shrunk, start, steps
from workbench import methods
from workbench.parts.similarity import Similarity, chosen, grams_of, similarities, without
from workbench.protocols import Clock, View
from workbench.spaces.darts import darts

BOTH = pytest.mark.parametrize("space", SPACES)


def gram(*vectors: Tensor) -> Tensor:
    """`(batch, n, n)` of vectors `(batch, size)`."""
    maps = torch.stack(vectors, dim=1)
    return maps @ maps.transpose(1, 2)


def whole(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=1, dim2=2)


@pytest.mark.usefixtures("float64")
class TestScores:
    """Scores of vectors known by hand."""

    def test_first_scores_are_cosines(self) -> None:
        node, *ops = torch.randn(4, 6, 9).unbind(0)
        matrix = gram(node, *ops)
        want = torch.stack([cosine_similarity(node, op) for op in ops], dim=1)
        torch.testing.assert_close(similarities(matrix, whole(matrix)), want)

    def test_the_scale_of_an_output_does_not_matter(self) -> None:
        node, *ops = torch.randn(5, 6, 9).unbind(0)
        scaled = [factor * op for factor, op in zip((3.0, 0.01, 40.0, 1.0), ops, strict=True)]
        for index in (1, 3):
            plain, other = (without(gram(node, *x), index) for x in (ops, scaled))
            a = similarities(plain, whole(gram(node, *ops)))
            b = similarities(other, whole(gram(node, *scaled)))
            torch.testing.assert_close(a, b)
        choices = [(0, 0), (0, 1), (1, 0), (1, 1)]
        picks = [chosen(choices, [gram(node, *x)], 2) for x in (ops, scaled)]
        assert picks[0] == picks[1]

    def test_what_is_left_is_orthogonal_to_what_was_chosen_as_by_gram_schmidt(self) -> None:
        node, *ops = torch.randn(5, 6, 9).unbind(0)
        matrix = gram(node, *ops)
        left = without(without(matrix, 2), 4)
        assert left[:, [2, 4]].abs().max() < 1e-12
        basis = torch.linalg.qr(torch.stack([ops[1], ops[3]], dim=2)).Q  # (batch, size, 2)
        rest = [op - (basis @ (basis.mT @ op[:, :, None]))[:, :, 0] for op in ops]
        for index in (0, 2):
            want = cosine_similarity(node, rest[index])  # with the node's output, whole
            got = similarities(left, whole(matrix))[:, index]
            torch.testing.assert_close(got, want)

    def test_a_copy_of_what_was_chosen_is_like_nothing(self) -> None:
        x, y = torch.eye(3)[:2, None, :].expand(2, 5, 3).unbind(0)
        matrix = gram(2 * x + y, x, 3 * x, y)  # the node, an operation, its copy, another
        assert chosen([(0, 0), (1, 0), (2, 0)], [matrix], 2) == [(0, 0), (2, 0)]
        left = similarities(without(matrix, 1), whole(matrix))
        torch.testing.assert_close(left[0], torch.tensor([0.0, 0.0, 5**-0.5]))

    def test_an_edge_is_chosen_once_and_cells_are_averaged(self) -> None:
        x, y, z = torch.eye(3)[:, None, :].expand(3, 4, 3).unbind(0)
        one = gram(3 * x + 2 * y + z, x, y, z)
        assert chosen([(0, 0), (0, 1), (1, 0)], [one], 2) == [(0, 0), (1, 0)]
        other = gram(y, x, y, z)
        assert chosen([(0, 0), (1, 0), (2, 0)], [one], 1) == [(0, 0)]
        assert chosen([(0, 0), (1, 0), (2, 0)], [one, other], 1) == [(1, 0)]
        assert len(chosen([(0, 0), (0, 1), (1, 0)], [one], 9)) == 2

    def test_zeros_are_like_nothing(self) -> None:
        zero, one = torch.zeros(4, 3), torch.ones(4, 3)
        for matrix in (gram(one, zero, one), gram(zero, one, one)):
            assert similarities(matrix, whole(matrix)).isfinite().all()
        matrix = gram(one, zero, one)
        assert similarities(matrix, whole(matrix))[0].tolist() == pytest.approx([0, 1])


def ended(space: str, **settings: object) -> View:
    """A view at the end of a small search's last epoch."""
    method = shrunk(methods.idarts_node.but(pruner=None, **settings))
    run = start(method, SPACES[space], machine=READABLE64)
    play(run)
    return run.view(replace(run.clock, epoch=run.clock.epochs - 1))


@BOTH
def test_outputs_are_those_of_the_net_and_it_is_left_alone(space):
    view = ended(space)
    for (kind, node), (choices, grams) in grams_of(view).items():
        cell = view.space.cell(kind)
        into = [edge for edge, (_, dst) in enumerate(cell.edges) if dst == node]
        useful = [op for op in cell.columns if op != "none"]
        assert len(choices) == len(into) * len(useful)
        assert len(grams) == sum(layer.kind == kind for layer in view.space.layers)
        for matrix in grams:
            assert matrix.shape[1:] == (1 + len(choices),) * 2
            # the node is the sum of its operations by their mixing weights
            rows = torch.tensor([float(view.mix[kind].ops[edge, op]) for edge, op in choices])
            total = (matrix[:, 1:, 1:] * rows[:, None] * rows).sum(dim=(1, 2))
            torch.testing.assert_close(matrix[:, 0, 0], total, rtol=1e-6, atol=1e-6)
    again = grams_of(view)
    assert all(torch.equal(a, b) for key in again for a, b in zip(
        again[key][1], grams_of(view)[key][1], strict=True
    ))  # fmt: skip


@BOTH
def test_a_search_ends_with_one_operation_on_each_edge_it_keeps(space):
    events = searched(shrunk(methods.idarts_node, epochs=2), SPACES[space], machine=READABLE)
    for cell in SPACES[space].cells:
        genes = events[-1].genotype.cell(cell.kind)
        degrees = [2] * cell.nodes if space == "darts" else range(1, cell.nodes + 1)
        assert list(genes.in_degrees.values()) == list(degrees)
    assert all(mask.all() for mask in steps(events)[-1].alive.values())  # until the last epoch
    assert not any(events[-1].residual_entropy.values())


def test_a_kind_of_cell_that_the_stack_lacks_stays_as_it_is() -> None:
    space = darts(channels=4, cells=1, nodes=1)
    assert {layer.kind for layer in space.layers} == {"reduce"}
    *_, last = searched(shrunk(methods.idarts_node), space, machine=READABLE)
    assert last.residual_entropy["normal:0→2"] > 0
    assert last.residual_entropy["reduce:0→2"] == 0


def test_it_waits_for_the_last_epoch_and_keeps_as_many_edges_as_it_is_told():
    view = ended("darts")
    early = replace(view, clock=Clock(0, 0, 3, 0, 3))
    assert all(mask is view.alive[kind] for kind, mask in Similarity()(early).items())
    assert [int(mask.sum()) for mask in Similarity(inputs=1)(view).values()] == [1, 1]
    with pytest.raises(ValueError, match="inputs"):
        Similarity(inputs=0)
