"""What holds of every training-free score."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from workbench.protocols import Batch, Proxy
from workbench.spaces.skeleton import Head
from workbench.zero_cost import proxies
from workbench.zero_cost.scratch import ProxyError, scratch

NAMES = sorted(proxies.named())


def small_net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Conv2d(4, 5, 3, padding=1, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        Head(5, 3),
    )


def small_batch(count: int = 6) -> Batch:
    images = torch.randn(count, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    return Batch(images, torch.arange(count) % 3)


def value(proxy: Proxy, net: nn.Module, batch: Batch, seed: int = 7) -> float:
    return proxy(net, batch, torch.Generator().manual_seed(seed))


class Broken(nn.Module):
    """Fails in the middle of a pass."""

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("broken")


def everything(net: nn.Module) -> dict[str, object]:
    """What a score could leave behind: state, gradients, modes, hooks, global random state."""
    parts = list(net.modules())
    return {
        "state": {name: x.clone() for name, x in net.state_dict().items()},
        "grad": [w.grad for w in net.parameters()],
        "frozen": [w.requires_grad for w in net.parameters()],
        "training": [m.training for m in parts],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in parts],
        "modules": [type(m) for m in parts],
        "random": torch.get_rng_state(),
    }


def assert_untouched(before: dict[str, object], after: dict[str, object]) -> None:
    assert torch.equal(before.pop("random"), after.pop("random"))
    old, new = before.pop("state"), after.pop("state")
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)
    assert before == after


@pytest.mark.parametrize("name", NAMES)
def test_a_score_is_a_finite_number_that_the_seed_decides(name: str) -> None:
    proxy = getattr(proxies, name)
    first = value(proxy, small_net(), small_batch())
    assert isinstance(first, float)
    assert abs(first) < float("inf")
    assert value(proxy, small_net(), small_batch()) == first


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_the_network_is_left_as_it_was(name: str, training: bool) -> None:
    net = small_net().train(training)
    net[0].weight.requires_grad_(False)
    before = everything(net)
    value(getattr(proxies, name), net, small_batch())
    assert_untouched(before, everything(net))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("parameters", "l2_norm")])
def test_the_network_is_left_as_it_was_after_an_error(name: str) -> None:
    net = nn.Sequential(*small_net()[:6], Broken(), *small_net()[6:]).eval()
    before = everything(net)
    with pytest.raises(RuntimeError, match="broken"):
        value(getattr(proxies, name), net, small_batch())
    assert_untouched(before, everything(net))


@pytest.mark.parametrize("name", NAMES)
def test_no_score_reads_labels_it_does_not_need(name: str) -> None:
    proxy, batch = getattr(proxies, name), small_batch()
    other = Batch(batch.images, (batch.labels + torch.tensor([0, 0, 1, 1, 2, 0])) % 3)
    same = value(proxy, small_net(), batch) == value(proxy, small_net(), other)
    assert same == (not proxy.needs_labels)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "name", sorted({*NAMES} - {"zen_nas", "linear_regions", "synflow", "macs"})
)
def test_the_order_of_the_batch_does_not_count(name: str) -> None:
    net = small_net()
    net[3] = nn.Identity()  # dropout goes by place
    batch, order = small_batch(), torch.tensor([4, 0, 5, 2, 1, 3])
    turned = Batch(batch.images[order], batch.labels[order])
    proxy = getattr(proxies, name)
    assert value(proxy, net, turned) == pytest.approx(value(proxy, net, batch), rel=1e-9)


@pytest.mark.usefixtures("float64")
def test_a_repeated_picture_is_clamped_not_infinite() -> None:
    batch = small_batch()
    batch.images[3] = batch.images[1]
    net = small_net()
    net[3] = nn.Identity()
    assert 1e12 < value(proxies.ntk_cond, net, batch) < 1e16
    for name in ("naswot", "jacob_cov"):
        proxy = getattr(proxies, name)
        assert value(proxy, net, small_batch()) - value(proxy, net, batch) > 10
        assert value(proxy, net, batch) > -1e6


def test_a_network_that_ignores_its_picture_gets_finite_scores() -> None:
    net = small_net()
    with torch.no_grad():
        net[0].weight.zero_()
    for name in NAMES:
        assert abs(value(getattr(proxies, name), net, small_batch())) < float("inf"), name


def test_the_copy_is_in_training_mode_and_free_to_move() -> None:
    net = small_net().eval()
    for weight in net.parameters():
        weight.requires_grad_(False)
    with torch.no_grad(), scratch(net, torch.Generator()) as copied:
        assert copied is not net
        assert all(module.training for module in copied.modules())
        assert copied(small_batch().images).requires_grad


def test_sizes_are_those_of_the_network() -> None:
    net, batch = small_net(), small_batch()
    weights = 4 * 2 * 9 + 2 * 4 + 5 * 4 * 9 + 2 * 5 + 3 * 5 + 3
    assert value(proxies.parameters, net, batch) == weights
    assert value(proxies.macs, net, batch) == 36 * (4 * 2 * 9 + 5 * 4 * 9) + 3 * 5


@pytest.mark.parametrize("name", ["naswot", "linear_regions", "zen_nas", "snip", "ntk_fro"])
def test_a_network_a_score_cannot_look_at_is_refused_in_words(name: str) -> None:
    with pytest.raises(ProxyError, match=r"network|Head"):
        value(getattr(proxies, name), nn.Sequential(nn.Flatten()), small_batch())


def test_only_the_condition_number_is_better_when_smaller() -> None:
    worse = [name for name, proxy in proxies.named().items() if not proxy.higher_is_better]
    assert worse == ["ntk_cond"]


def test_a_score_copies_no_more_than_it_says() -> None:
    """The batch comes back as it was too."""
    batch = small_batch()
    kept = copy.deepcopy(batch)
    for proxy in proxies.named().values():
        value(proxy, small_net(), batch)
    assert torch.equal(batch.images, kept.images)
    assert not batch.images.requires_grad


def test_the_page_of_the_slot_quotes_what_is_there() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs" / "slots" / "proxy.md").read_text(encoding="utf-8")
    quotes = re.findall(r"```python\n(.*?)\n```", page, flags=re.DOTALL)
    sources = [
        root / "workbench" / "protocols.py",
        *(root / "workbench" / "zero_cost").glob("*.py"),
        *Path(__file__).parent.glob("*.py"),
    ]
    texts = [path.read_text(encoding="utf-8") for path in sources]
    assert len(quotes) == 3
    assert all(any(quote in text for text in texts) for quote in quotes)
    assert all(f"`{name}`" in page for name in proxies.named())
