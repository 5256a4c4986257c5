"""Searches that prune and hold go on from a saved state as if nothing had been."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from tests.test_resume import places, until
from tests.tiny import CPU, SPACES, assert_same, holdings, prunings, shrunk, tiny_data, trajectory
from workbench import methods
from workbench.events import SearchEvent
from workbench.method import Method
from workbench.parts.arch_optimizers import Adam
from workbench.protocols import SupernetLike
from workbench.search import search
from workbench.snapshots import State
from workbench.spaces.space import Space


def mixed_up(space: Space) -> Space:
    """With every second edge's candidates in the other order than the columns."""
    cells = [
        replace(cell, ops=tuple(ops[:: 1 if edge % 2 else -1] for edge, ops in enumerate(cell.ops)))
        for cell in space.cells
    ]
    return replace(space, cells=tuple(cells))


SEARCHED: Mapping[str, Space] = {**SPACES, "in two orders": mixed_up(SPACES["darts"])}


@dataclass(frozen=True)
class Spread:
    """Some exact zeros on every edge; into the last node of the first cell `none` has it all."""

    def __call__(
        self, space: Space, net: SupernetLike, generator: torch.Generator
    ) -> dict[str, Tensor]:
        rows = {
            cell.kind: 0.5 * torch.randn(len(cell.edges), len(cell.columns), generator=generator)
            for cell in space.cells
        }
        first = space.cells[0]
        last = [edge for edge, (_, dst) in enumerate(first.edges) if dst == first.edges[-1][1]]
        rows[first.kind][last] = 0.0
        rows[first.kind][last, first.columns.index("none")] = 2.0
        return rows


def searching(name: str, start: State | None = None) -> Iterator[SearchEvent]:
    method = methods.entmax2_prune_single_level
    assert isinstance(method, Method)
    method = shrunk(method.but(init=Spread(), arch_optimizer=Adam(lr=0.1)), epochs=2)
    return search(method, SEARCHED[name], tiny_data(), machine=CPU, start=start)


@pytest.mark.parametrize("name", SEARCHED)
def test_what_was_pruned_and_told_to_be_held_is_as_it_was(name: str) -> None:
    whole = list(searching(name))
    assert prunings(whole)
    assert holdings(whole)
    for place in range(1, places(whole), 2):
        first, state = until(searching(name), place)
        both = [*first, *list(searching(name, state))[1:]]
        assert_same(trajectory(whole), trajectory(both))
        assert prunings(whole) == prunings(both)
        assert holdings(whole) == holdings(both)
        assert whole[-1] == both[-1]
