"""On a GPU: the same search, and nothing left behind on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny import SPACES, shrunk, tiny_data
from workbench import Machine, load, methods, open_run, record
from workbench.evaluate import Recipe, evaluate
from workbench.events import Derived, Evaluated, Stepped
from workbench.search import search
from workbench.spaces.darts import darts

pytestmark = pytest.mark.gpu


def test_a_search_on_a_gpu_stays_with_the_search_on_a_cpu() -> None:
    method = shrunk(methods.entmax3_prune)  # tiny data are not augmented: nothing is drawn there
    for space in SPACES.values():
        alphas = []
        for device in ("cpu", "cuda"):
            machine = Machine(device, precision="float64")
            events = search(method, space, tiny_data(), machine=machine)
            steps = [event for event in events if isinstance(event, Stepped)]
            kinds = steps[-1].alpha
            alphas.append(torch.cat([rows.flatten().cpu() for rows in kinds.values()]))
        assert torch.allclose(*alphas, rtol=0, atol=1e-7)


def test_every_method_searches_records_and_derives_on_a_gpu(tmp_path: Path) -> None:
    for name, method in methods.named().items():
        events = search(
            method.but(epochs=1, batch_size=256),
            darts(channels=2, cells=1, nodes=1),
            load("digits"),
            machine=Machine("cuda"),
        )
        last = list(record(events, tmp_path / name))[-1]
        assert isinstance(last, Derived)
        assert open_run(tmp_path / name).status == "finished"


def test_a_network_is_evaluated_on_a_gpu() -> None:
    method = methods.darts.but(epochs=1, batch_size=256)
    space = darts(channels=2, cells=1, nodes=1)
    found = list(search(method, space, load("digits"), machine=Machine("cuda")))[-1]
    assert isinstance(found, Derived)
    recipe = Recipe(channels=2, cells=1, epochs=1, batch_size=256)
    last = list(evaluate(found.genotype, load("digits"), recipe, machine=Machine("cuda")))[-1]
    assert isinstance(last, Evaluated)
