"""What a probe may hand back, and that it cannot change what it measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tiny import CPU, SPACES, shrunk, tiny_data
from workbench import methods
from workbench.events import Probed
from workbench.measuring import ProbeError
from workbench.search import search


def measured(probe) -> list[Probed]:
    method = shrunk(methods.darts)
    events = search(method, SPACES["nasbench201"], tiny_data(), probes=(probe,), machine=CPU)
    return [event for event in events if isinstance(event, Probed)]


def test_numbers_become_tensors():
    found = measured(lambda view, bilevel: {"a": 1.5, "b": np.float32(2.0), "c": 3})
    assert [float(found[0].values[name]) for name in "abc"] == [1.5, 2.0, 3.0]


def test_what_cannot_be_recorded_is_named():
    def strange(view, bilevel):
        return {"thing": object()}

    with pytest.raises(ProbeError, match="strange measured 'thing' as object; it may be a tensor"):
        measured(strange)


def test_a_probe_that_writes_into_weights_is_refused():
    def heavy_handed(view, bilevel):
        with torch.no_grad():
            bilevel.weights[0].mul_(2.0)
        return {}

    with pytest.raises(ProbeError, match="heavy_handed wrote into weights or alphas"):
        measured(heavy_handed)


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "returned NoneType; a probe returns"), ({"a": 1j}, "measured 'a' as complex")],
)
def test_what_is_no_measurement_is_refused(value, said):
    def forgetful(view, bilevel):
        return value

    with pytest.raises(ProbeError, match=f"forgetful {said}"):
        measured(forgetful)


def test_a_probe_leaves_masks_and_gradients_as_they_were():
    def careless(view, bilevel):
        for mask, mix in zip(view.alive.values(), view.mix.values(), strict=True):
            assert mask.all()
            assert mix.ops.sum() > 0
            mask.zero_()
            mix.ops.zero_()
        for at in range(len(view.history)):
            assert view.history[at]["cell"].sum() > 0
            view.history[at]["cell"].zero_()
        for rows in view.history:
            rows["cell"].zero_()
        torch.set_grad_enabled(False)
        return {"alive": sum(int(mask.sum()) for mask in view.alive.values())}

    found = measured(careless)
    assert len(found) > 1
    assert all(float(event.values["alive"]) == 0 for event in found)
    assert torch.is_grad_enabled()
