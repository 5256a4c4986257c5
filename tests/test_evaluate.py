"""The evaluation phase."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from workbench.data import ImageSet, load
from workbench.engine import Machine
from workbench.evaluate import CIFAR, FOUR_LAYER_HEAD, Recipe, evaluate
from workbench.events import Diverged, DivergenceError, EpochEnded, Evaluated
from workbench.spaces.genotype import Genotype
from workbench.spaces.network import Network

GENOTYPE = Genotype.parse(
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
    "reduce=[('max_pool_3x3', 0), ('sep_conv_3x3', 1)], reduce_concat=[2])"
)
SHORT = Recipe(channels=4, cells=2, epochs=2, batch_size=128, lr=0.1)
CPU = Machine("cpu")


def evaluated(recipe: Recipe = SHORT, seed: int = 0, data: object = None) -> Evaluated:
    events = list(evaluate(GENOTYPE, data or load("digits"), recipe, machine=CPU, seed=seed))
    assert isinstance(events[-1], Evaluated)
    return events[-1]


def test_same_seed_gives_the_same_figures_and_another_seed_others() -> None:
    first = evaluated(replace(SHORT, drop_path=0.3))
    torch.rand(7)  # the global generator is nobody's
    assert evaluated(replace(SHORT, drop_path=0.3)).confusion == first.confusion
    assert evaluated(replace(SHORT, drop_path=0.3), seed=1).confusion != first.confusion


def test_accuracy_and_precision_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("digits")
    scores = torch.softmax(torch.randn(len(data.test), 10, generator=torch.manual_seed(0)), 1)
    scores += 0.1 * torch.nn.functional.one_hot(data.test.labels, 10)
    given = iter(scores.log().split(SHORT.batch_size))
    trained = Network.forward

    def forward(self: Network, images: torch.Tensor, generator: object = None) -> object:
        counting = images.is_meta  # the cost is counted on the meta device
        return trained(self, images) if self.training or counting else (next(given), None)

    monkeypatch.setattr(Network, "forward", forward)
    found = evaluated(replace(SHORT, epochs=1))
    truth = np.eye(10)[data.test.labels]
    expected = average_precision_score(truth, scores.numpy(), average="macro")
    assert found.test_map == pytest.approx(expected, abs=1e-5)
    hits = (scores.argmax(1) == data.test.labels).double().mean()
    assert found.test_accuracy == pytest.approx(float(hits), abs=1e-6)
    assert np.trace(found.confusion) / np.sum(found.confusion) == pytest.approx(float(hits))


def test_the_test_split_is_not_looked_at_while_training() -> None:
    data = load("digits")
    other = replace(data, test=ImageSet(data.test.images.flip(3), data.test.labels))
    runs = [list(evaluate(GENOTYPE, d, SHORT, machine=CPU)) for d in (data, other)]
    curves = [[e.scalars for e in run if isinstance(e, EpochEnded)] for run in runs]
    assert curves[0] == curves[1]


def test_training_learns_digits() -> None:
    assert evaluated(replace(SHORT, channels=8, epochs=4, batch_size=64)).test_accuracy > 0.6


def test_the_published_recipe_is_the_published_one() -> None:
    assert (CIFAR.channels, CIFAR.cells, CIFAR.epochs, CIFAR.batch_size) == (36, 20, 600, 96)
    assert (CIFAR.auxiliary, CIFAR.drop_path, CIFAR.cutout, CIFAR.clip) == (0.4, 0.2, 16, 5.0)
    assert (CIFAR.lr, CIFAR.momentum, CIFAR.weight_decay) == (0.025, 0.9, 3e-4)


def test_learning_rate_and_drop_path_follow_the_epochs() -> None:
    recipe = replace(SHORT, epochs=4, drop_path=0.2)
    events = list(evaluate(GENOTYPE, load("digits"), recipe, machine=CPU))
    rates = [e.scalars["lr"] for e in events if isinstance(e, EpochEnded)]
    assert rates == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], abs=1e-6)


def test_the_four_layer_head_has_four_fully_connected_layers() -> None:
    net = Network(GENOTYPE, channels=4, cells=2, hidden=FOUR_LAYER_HEAD)
    assert sum(isinstance(m, torch.nn.Linear) for m in net.head.modules()) == 4
    assert evaluated(replace(SHORT, epochs=1, hidden=FOUR_LAYER_HEAD)).parameters > 2 * 256 * 257


def test_cutout_and_the_auxiliary_head_train() -> None:
    data = load("digits")
    grown = replace(
        data,
        train=ImageSet(data.train.images.repeat(1, 1, 4, 4), data.train.labels),
        test=ImageSet(data.test.images.repeat(1, 1, 4, 4), data.test.labels),
    )
    recipe = replace(SHORT, epochs=1, cells=3, auxiliary=0.4, cutout=16, drop_path=0.2)
    found = evaluated(recipe, data=grown)
    assert 0 <= found.test_accuracy <= 1


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"channels": 0}, {"drop_path": 1.0}])
def test_a_recipe_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(SHORT, **wrong)


def test_a_network_without_finite_outputs_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Network.forward

    def forward(self: Network, images: torch.Tensor, generator: object = None) -> object:
        logits, auxiliary = trained(self, images)
        whole = self.training or images.is_meta
        return logits if whole else logits * torch.inf, auxiliary

    monkeypatch.setattr(Network, "forward", forward)
    events = evaluate(GENOTYPE, load("digits"), replace(SHORT, epochs=1), machine=CPU)
    last = next(event for event in events if isinstance(event, Evaluated | Diverged))
    assert isinstance(last, Diverged)
    with pytest.raises(DivergenceError, match="an output of the network on the test images"):
        next(events)
