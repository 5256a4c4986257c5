"""Image sets, their splits and their batches."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from workbench.data import (
    Augment,
    Data,
    DataError,
    ImageSet,
    Loader,
    evaluation_batches,
    split_indices,
    streaming,
)
from workbench.protocols import Batch

CPU = torch.device("cpu")
DEVICES = [CPU, *([torch.device("cuda")] if torch.cuda.is_available() else [])]


def numbered(count: int, size: int = 6, augment: Augment | None = None) -> Data:
    """Noise images whose label is their index, so that a batch says which images it holds."""
    pixels = torch.Generator().manual_seed(1)
    images = torch.randint(1, 256, (count, 3, size, size), generator=pixels, dtype=torch.uint8)
    images = ImageSet(images, torch.arange(count))
    classes = tuple(str(i) for i in range(count))
    mean, std = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
    return Data("numbered", classes, images, images, mean, std, augment or Augment())


def loader(
    data: Data,
    batch_size: int,
    seed: int = 0,
    indices: Tensor | None = None,
    device=CPU,
    resident: bool | None = None,
) -> Loader:
    return Loader(data, indices, batch_size=batch_size, seed=seed, device=device, resident=resident)


def assert_equal(a: Batch, b: Batch) -> None:
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.labels, b.labels)


def raw(data: Data, images: Tensor) -> Tensor:
    """Undo the normalisation."""
    mean, std = torch.tensor(data.mean)[:, None, None], torch.tensor(data.std)[:, None, None]
    return ((images.cpu() * std + mean) * 255).round().to(torch.uint8)


# Values and splits


@pytest.mark.parametrize(
    "build",
    [
        lambda d: ImageSet(d.train.images.float(), d.train.labels),
        lambda d: ImageSet(d.train.images, d.train.labels[1:]),
        lambda d: d.train.take(torch.arange(0)),
        lambda d: Augment(crop_padding=-1),
        lambda d: Augment(noise=float("nan")),
        lambda d: replace(d, classes=("one",)),
        lambda d: replace(d, mean=(0.5,)),
        lambda d: replace(d, std=(1.0, 1.0, 0.0)),
        lambda d: replace(d, test=ImageSet(d.test.images[:, :1], d.test.labels)),
    ],
)
def test_impossible_values_are_refused_at_construction(build: Callable[[Data], object]) -> None:
    with pytest.raises(DataError):
        build(numbered(3))


@pytest.mark.parametrize("portion", [0.5, 0.8, 0.31])
def test_a_split_is_disjoint_complete_stratified_and_seeded(portion: float) -> None:
    labels = torch.randint(0, 7, (501,), generator=torch.Generator().manual_seed(0))
    first, second = split_indices(labels, portion, seed=3)
    assert torch.equal(torch.cat([first, second]).sort().values, torch.arange(501))
    share = labels[first].bincount(minlength=7) - portion * labels.bincount(minlength=7)
    assert share.abs().max() <= 1
    assert torch.equal(first, split_indices(labels, portion, seed=3)[0])
    assert not torch.equal(first, split_indices(labels, portion, seed=4)[0])


def test_a_split_at_one_leaves_the_architecture_nothing() -> None:
    first, second = split_indices(torch.arange(9) % 3, 1.0, seed=0)
    assert (len(first), len(second)) == (9, 0)


@pytest.mark.parametrize("portion", [0.0, -0.5, 1.5, float("nan"), 0.99])
def test_a_portion_that_leaves_a_part_empty_is_refused(portion: float) -> None:
    with pytest.raises(DataError, match="portion"):
        split_indices(torch.arange(9) % 3, portion, seed=0)


# Batches


@pytest.mark.parametrize("device", DEVICES)
def test_each_pass_shows_different_images_without_repeats(device: torch.device) -> None:
    indices = torch.arange(3, 26)  # 23 images, 5 batches of 4
    batches = loader(numbered(30), 4, indices=indices, device=device)
    assert len(batches) == 5
    passes = []
    for _ in range(2):
        shown = [batches.next() for _ in range(5)]
        assert all(batch.images.device.type == device.type for batch in shown)
        assert all(batch.images.shape == (4, 3, 6, 6) for batch in shown)
        passes.append([int(i) for batch in shown for i in batch.labels])
        assert len(set(passes[-1])) == 20
        assert set(passes[-1]) <= set(indices.tolist())
    assert passes[0] != passes[1]
    other = loader(numbered(30), 4, seed=1, indices=indices, device=device)
    assert other.next().labels.tolist() != passes[0][:4]


EVERYTHING = Augment(crop_padding=2, flip=True, cutout=3, noise=0.1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("before", "after"), [(True, True), (False, False), (True, False)])
def test_a_resumed_loader_goes_on_bit_for_bit(
    device: torch.device, before: bool, after: bool
) -> None:
    data = numbered(10, augment=EVERYTHING)
    straight = loader(data, 3, device=device, resident=before)
    batches = loader(data, 3, device=device, resident=before)
    reused = loader(data, 3, seed=9, device=device, resident=after)
    want = [straight.next() for _ in range(12)]  # a pass is three batches
    for taken in range(1, 8):
        batches.next()
        stream = io.BytesIO()
        torch.save(batches.state_dict(), stream)
        for resumed in (reused, loader(data, 3, seed=taken, device=device, resident=after)):
            stream.seek(0)
            resumed.load_state_dict(torch.load(stream))
            for batch in want[taken : taken + 5]:
                assert_equal(resumed.next(), batch)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("augment", [EVERYTHING, Augment()])
@pytest.mark.parametrize("indices", [None, torch.tensor([8, 1, 9, 2, 3, 7, 4])])
def test_a_streamed_loader_makes_the_batches_of_a_resident_one(
    device: torch.device, augment: Augment, indices: Tensor | None
) -> None:
    data = numbered(10, augment=augment)
    resident = loader(data, 3, indices=indices, device=device, resident=True)
    streamed = loader(data, 3, indices=indices, device=device, resident=False)
    assert (resident.resident, streamed.resident) == (True, False)
    kept = []
    for _ in range(10):  # passes of two or three batches
        kept.append((resident.next(), streamed.next()))
        for name, value in resident.state_dict().items():
            other = streamed.state_dict()[name]
            assert torch.equal(value, other) if isinstance(value, Tensor) else value == other
    for pair in kept:  # a batch stays what it was while others are made
        assert_equal(*pair)


def test_images_are_streamed_where_a_share_of_the_free_memory_is_too_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, half = numbered(10), torch.arange(5)  # 108 bytes an image
    assert loader(data, 2).resident  # a CPU's memory is where they are
    monkeypatch.setattr(streaming, "_free", lambda device: 5 * 108 / streaming.SHARE)
    assert loader(data, 2, indices=half).resident
    assert not loader(data, 2).resident
    assert loader(data, 2, resident=True).resident
    assert not loader(data, 2, indices=half, resident=False).resident


def test_a_streamed_loader_copies_no_image_before_it_is_due() -> None:
    data = numbered(6)
    batches = loader(data, 2, resident=False)
    batches.next()  # the second batch is on its way
    data.train.images.zero_()
    black = [bool((raw(data, batches.next().images) == 0).all()) for _ in range(2)]
    assert black == [False, True]


def test_a_state_of_another_loader_is_refused() -> None:
    with pytest.raises(DataError, match="has batch_size 2 but the saved one had 3"):
        loader(numbered(9), 2).load_state_dict(loader(numbered(9), 3).state_dict())


@pytest.mark.parametrize("device", DEVICES)
def test_a_training_image_is_one_shift_and_mirror_of_its_original(device: torch.device) -> None:
    data = numbered(40, augment=Augment(crop_padding=2, flip=True))
    batches, seen = loader(data, 20, device=device), []
    for images, labels in (batches.next() for _ in range(10)):
        for image, label in zip(raw(data, images), labels, strict=True):
            padded = tv.pad(data.train.images[int(label)], [2])
            for top in range(5):
                for left in range(5):
                    crop = tv.crop(padded, top, left, 6, 6)
                    if torch.equal(image, crop):
                        seen.append((top, left, False))
                    if torch.equal(image, tv.horizontal_flip(crop)):
                        seen.append((top, left, True))
    assert len(seen) == 200  # every image is exactly one of them
    assert len({(top, left) for top, left, _ in seen}) == 25
    assert 60 < sum(flip for *_, flip in seen) < 140
    assert 20 < sum(top == 0 for top, *_ in seen) < 65


@pytest.mark.parametrize("size", [6, 2])  # the padding is smaller, and larger, than the image
@pytest.mark.parametrize("flip", [True, False])
def test_crops_and_mirrors_are_those_that_are_drawn(size: int, flip: bool) -> None:
    data = numbered(40, size, Augment(crop_padding=3, flip=flip))
    batches, draws = loader(data, 20), torch.Generator()
    for _ in range(3):
        draws.set_state(batches.state_dict()["generator"])
        images, labels = batches.next()
        down, right = torch.randint(-3, 4, (2, 20, 1), generator=draws)[..., 0]
        mirrored = torch.rand(20, 1, generator=draws)[:, 0] < (0.5 if flip else 0.0)
        for index, image in enumerate(raw(data, images)):
            padded = tv.pad(data.train.images[int(labels[index])], [3])
            want = tv.crop(padded, 3 + int(down[index]), 3 + int(right[index]), size, size)
            assert torch.equal(image, tv.horizontal_flip(want) if mirrored[index] else want)


def test_normalisation_is_that_of_torchvision() -> None:
    data = numbered(5)
    reference = v2.Compose(
        [v2.ToDtype(torch.float32, scale=True), v2.Normalize(data.mean, data.std)]
    )
    batch = loader(data, 5).next()
    torch.testing.assert_close(batch.images, reference(data.train.images[batch.labels]))
    padded = replace(data, augment=Augment(crop_padding=9))
    black = reference(torch.zeros(3, 1, 1, dtype=torch.uint8))
    shifted = [image for _ in range(20) for image in loader(padded, 5).next().images]
    assert any(torch.allclose(image, black.expand(3, 6, 6)) for image in shifted)


@pytest.mark.parametrize("side", [1, 3, 4])
def test_cutout_zeroes_one_square_cut_off_at_the_border(side: int) -> None:
    data = numbered(50, size=8, augment=Augment(cutout=side))
    images, labels = loader(data, 50).next()
    plain = loader(replace(data, augment=Augment()), 50).next()
    areas = set()
    for image, original in zip(images, plain.images, strict=True):
        hole = (image == 0).all(0)
        rows, cols = hole.any(1), hole.any(0)
        assert torch.equal(hole, rows[:, None] & cols)
        assert torch.equal(image[:, ~hole], original[:, ~hole])
        areas.add((int(rows.sum()), int(cols.sum())))
    assert torch.equal(labels, plain.labels)
    assert max(areas) == (side, side)
    assert min(min(area) for area in areas) >= side // 2
    assert (len(areas) > 1) == (side > 1)


def test_noise_has_its_standard_deviation_in_normalised_units() -> None:
    data = numbered(60, size=16)
    noisy = Loader(data, None, batch_size=60, seed=0, device=CPU, augment=Augment(noise=0.3))
    difference = noisy.next().images - loader(data, 60).next().images
    assert float(difference.std()) == pytest.approx(0.3, rel=0.03)
    assert float(difference.mean()) == pytest.approx(0, abs=0.01)


def test_a_loader_without_enough_images_is_refused() -> None:
    with pytest.raises(DataError, match=r"`batch_size=8` is more than the 7 images"):
        loader(numbered(7), 8)
    with pytest.raises(DataError, match=r"`batch_size=0` must be 1"):
        loader(numbered(7), 0)
    with pytest.raises(DataError, match="`indices` is empty"):
        loader(numbered(7), 1, indices=torch.arange(0))
    with pytest.raises(DataError, match="reach from 0 to 7"):
        loader(numbered(7), 1, indices=torch.arange(8))


@pytest.mark.parametrize("device", DEVICES)
def test_an_evaluation_shows_every_image_once_in_order_and_unchanged(device: torch.device) -> None:
    data = numbered(7, augment=Augment(crop_padding=2, flip=True, cutout=4, noise=1.0))
    shown = list(evaluation_batches(data.test, data, batch_size=3, device=device))
    assert [len(batch.labels) for batch in shown] == [3, 3, 1]
    assert torch.cat([batch.labels for batch in shown]).tolist() == list(range(7))
    assert torch.equal(raw(data, torch.cat([b.images for b in shown])), data.test.images)
    assert all(batch.images.device.type == device.type for batch in shown)
    with pytest.raises(DataError, match="batch_size"):
        evaluation_batches(data.test, data, batch_size=0, device=device)
