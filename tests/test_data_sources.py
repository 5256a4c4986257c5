"""Digits, CIFAR files and folders of images."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import urllib.error
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.transforms.v2 import functional as tv

from workbench.data import Augment, DataError, describe, load

# CIFAR


class Published(pickle.Pickler):
    """Spells a dtype as the published files do, of which numpy 2.4.0 to 2.4.4 warns."""

    def reducer_override(self, obj: object):
        if isinstance(obj, np.dtype):
            return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)
        return NotImplemented


def write(path: Path, content: Mapping[str, object]) -> list[str]:
    stream = io.BytesIO()
    Published(stream, protocol=2).dump(content)
    path.write_bytes(stream.getvalue())
    return [path.name, hashlib.md5(stream.getvalue()).hexdigest()]


def write_cifar(root: Path, kind: type[CIFAR10], patch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Tiny files in the published layout; their md5 is declared to be the published one."""
    folder = root / kind.base_folder
    folder.mkdir()
    key, classes = ("labels", 10) if kind is CIFAR10 else ("fine_labels", 100)
    draw, pixels = np.random.default_rng(0), {}
    for attribute in ("train_list", "test_list"):
        written, rows = [], []
        for name, _ in getattr(kind, attribute):
            rows.append(draw.integers(0, 256, (classes, 3072), dtype=np.uint8))
            content = {"data": rows[-1], key: list(range(classes)), "batch_label": name}
            if kind is CIFAR100:
                content["coarse_labels"] = [i // 5 for i in range(classes)]
            written.append(write(folder / name, content))
        patch.setattr(kind, attribute, written)
        pixels[attribute] = torch.from_numpy(np.concatenate(rows)).reshape(-1, 3, 32, 32)
    meta = {kind.meta["key"]: [f"class {i}" for i in range(classes)]}
    name, md5 = write(folder / kind.meta["filename"], meta)
    patch.setattr(kind, "meta", {"filename": name, "key": kind.meta["key"], "md5": md5})
    return pixels


def no_network(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    patch.setattr("urllib.request.urlopen", refuse)


@pytest.mark.parametrize(
    ("name", "kind", "classes", "mean"),
    [("cifar10", CIFAR10, 10, 0.49139968), ("cifar100", CIFAR100, 100, 0.5071)],
)
def test_cifar_files_are_read_as_published(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: type[CIFAR10],
    classes: int,
    mean: float,
) -> None:
    written = write_cifar(tmp_path, kind, monkeypatch)
    data = load(name, root=tmp_path, download=False)
    assert torch.equal(data.train.images, written["train_list"])
    assert torch.equal(data.test.images, written["test_list"])
    assert torch.equal(data.test.labels, torch.arange(classes))
    assert data.classes == tuple(f"class {i}" for i in range(classes))
    assert data.mean[0] == mean
    assert data.augment == Augment(crop_padding=4, flip=True)


def test_a_cifar_file_with_a_wrong_md5_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path, CIFAR10, monkeypatch)
    damaged = tmp_path / CIFAR10.base_folder / "data_batch_3"
    damaged.write_bytes(damaged.read_bytes() + b"x")
    with pytest.raises(DataError, match=rf"data_batch_3 is damaged.*{CIFAR10.tgz_md5}") as caught:
        load("cifar10", root=tmp_path, download=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("cut", "is damaged"),
        ("emptied", "is damaged"),
        ("removed", "is missing"),
        ("a folder", "is no file"),
        ("closed", r"cannot be read \(Permission denied\)"),
    ],
)
def test_every_harm_to_a_cifar_file_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str, said: str
) -> None:
    write_cifar(tmp_path, CIFAR100, monkeypatch)
    file = tmp_path / CIFAR100.base_folder / "train"
    content = file.read_bytes()
    if harm == "closed":

        def refuse(path: Path, _: str) -> bool:
            if path.name == CIFAR100.filename:
                return False
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("torchvision.datasets.utils.check_integrity", refuse)
    elif harm in ("cut", "emptied"):
        file.write_bytes(content[: len(content) // 2] if harm == "cut" else b"")
    else:
        file.unlink()
        if harm == "a folder":
            file.mkdir()
    where = "train" if harm != "closed" else ".*"
    with pytest.raises(DataError, match=rf"{where} {said}.*Put cifar-100") as caught:
        load("cifar100", root=tmp_path, download=False)
    assert "\n" not in str(caught.value)


def test_missing_cifar_without_download_or_network_says_which_file_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_network(monkeypatch)
    where = rf"cifar-100-python.tar.gz \(md5 {CIFAR100.tgz_md5}\).* in {tmp_path}"
    with pytest.raises(DataError, match=rf"`download` is off.*{where}"):
        load("cifar100", root=tmp_path, download=False)
    with pytest.raises(DataError, match=rf"fetching it failed .*no network.*{where}"):
        load("cifar100", root=tmp_path)


def test_an_intact_archive_is_unpacked_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tarfile

    no_network(monkeypatch)
    source, root = tmp_path / "source", tmp_path / "root"
    source.mkdir()
    root.mkdir()
    written = write_cifar(source, CIFAR10, monkeypatch)
    archive = root / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source / CIFAR10.base_folder, CIFAR10.base_folder)
    with pytest.raises(DataError, match="has another md5 than published"):
        load("cifar10", root=root, download=False)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    data = load("cifar10", root=root, download=False)
    assert torch.equal(data.train.images, written["train_list"])


# Digits, names


def test_digits_hold_out_a_fifth_of_every_class_always_the_same() -> None:
    data, again = load("digits"), load("digits")
    assert (len(data.train) + len(data.test), data.channels, data.size) == (1797, 1, (8, 8))
    assert torch.equal(data.test.images, again.test.images)
    total = data.train.labels.bincount() + data.test.labels.bincount()
    assert (data.test.labels.bincount() - total / 5).abs().max() <= 1
    assert int(data.train.images.max()) == 255
    assert data.mean[0] == pytest.approx(float(data.train.images.double().mean()) / 255)
    std = float(data.train.images.double().std(correction=0)) / 255
    assert data.std[0] == pytest.approx(std)


def test_a_description_can_be_written_as_json() -> None:
    said = json.loads(json.dumps(describe(load("digits"))))
    assert (said["name"], said["train_images"], said["size"]) == ("digits", 1438, [8, 8])
    assert said["augment"] == {"crop_padding": 1, "flip": False, "cutout": 0, "noise": 0.0}


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"digits, cifar10, .*did you mean 'cifar10'\?$"):
        load("CIFAR-10")
    with pytest.raises(DataError, match=f"'folder:{tmp_path}'"):
        load(str(tmp_path))
    with pytest.raises(DataError, match="names no folder"):
        load("folder:")
    with pytest.raises(DataError, match="'digits' is used as published"):
        load("digits", size=16)


# Folders


def write_images(
    folder: Path, count: int, mode: str = "RGB", size: tuple[int, int] = (12, 9)
) -> None:
    folder.mkdir(parents=True)
    channels = {"RGB": (3,), "RGBA": (4,), "L": ()}[mode]
    draw = np.random.default_rng(0)
    for i in range(count):
        pixels = draw.integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
        Image.fromarray(pixels, mode=None).save(folder / f"{i:02}.png")


def test_a_folder_without_a_test_part_is_split_class_by_class(tmp_path: Path) -> None:
    write_images(tmp_path / "b", 20)
    write_images(tmp_path / "a", 10)
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    data = load(f"folder:{tmp_path}", size=8)
    assert data.classes == ("a", "b")
    assert data.train.labels.bincount().tolist() == [8, 16]
    assert data.test.labels.bincount().tolist() == [2, 4]
    assert (data.channels, data.size) == (3, (8, 8))
    mean = data.train.images.double().mean((0, 2, 3)) / 255
    assert data.mean == pytest.approx(mean.tolist())
    again = load(f"folder:{tmp_path}", size=8)
    assert torch.equal(data.test.images, again.test.images)


def test_a_folder_with_train_and_test_is_taken_as_it_is(tmp_path: Path) -> None:
    for split, count in (("train", 5), ("test", 1)):
        for name in ("cat", "dog"):
            write_images(tmp_path / split / name, count)
    data = load(f"folder:{tmp_path}")
    assert (len(data.train), len(data.test), data.size) == (10, 2, (32, 32))
    write_images(tmp_path / "test" / "cow", 1)
    with pytest.raises(DataError, match="cow must be in both"):
        load(f"folder:{tmp_path}")


def test_grey_is_found_asked_for_or_widened(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 4, "L")
    write_images(tmp_path / "b", 4, "L")
    assert load(f"folder:{tmp_path}").channels == 1
    write_images(tmp_path / "c", 4, "RGBA")
    mixed = load(f"folder:{tmp_path}")
    assert mixed.channels == 3
    widened = mixed.train.images[mixed.train.labels == 0]
    assert torch.equal(widened[:, 0], widened[:, 2])
    assert load(f"folder:{tmp_path}", grey=True).channels == 1


def test_an_image_is_its_centre_square_resized_with_antialiasing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / name, 4, size=(60, 40))
    data = load(f"folder:{tmp_path}", size=20)
    with Image.open(tmp_path / "a" / "00.png") as image:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    want = tv.center_crop(tv.resize(pixels, [20], antialias=True), [20, 20]).int()
    every = torch.cat([data.train.images, data.test.images]).int()
    assert (every - want).abs().amax((1, 2, 3)).min() <= 1


def test_sixteen_bit_one_pixel_and_palette_images_are_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / name, 1, size=(1, 1))
        Image.new("P", (5, 5), 3).save(tmp_path / name / "palette.gif")
        deep = np.full((6, 6), 0x80FF, dtype=np.uint16)
        Image.fromarray(deep).save(tmp_path / name / "deep.png")
        Image.new("RGB", (7, 5), (255, 0, 0)).save(tmp_path / name / "RED.JPG")
    data = load(f"folder:{tmp_path}", size=4)
    every = torch.cat([data.train.images, data.test.images])
    assert len(every) == 8
    assert int((every == 0x80).flatten(1).all(1).sum()) == 2


def test_unreadable_images_are_named_or_left_out(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / name, 5)
    (tmp_path / "a" / "04.png").write_bytes(b"no image")
    whole = (tmp_path / "b" / "03.png").read_bytes()
    (tmp_path / "b" / "03.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"2 of 10 images cannot be read.*04\.png.*03\.png"):
        load(f"folder:{tmp_path}")
    with pytest.warns(UserWarning, match="2 of 10 images"):
        data = load(f"folder:{tmp_path}", skip_unreadable=True)
    assert len(data.train) + len(data.test) == 8
    for path in (tmp_path / "b").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="and 1 more"):
        load(f"folder:{tmp_path}")
    with (
        pytest.warns(UserWarning, match="6 of 10 images"),
        pytest.raises(DataError, match=r"b' has 0 readable image\(s\)"),
    ):
        load(f"folder:{tmp_path}", skip_unreadable=True)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, r"holds 0 class folder"),
        ({"train": 4}, r"holds 1 class folder.*PATH/train/CLASS"),
        ({"a": 4, "b": 0}, r"b' has 0 readable"),
        ({"a": 3, "b": 4}, r"a' has 3 readable .* 4 or more"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused(
    tmp_path: Path, counts: dict[str, int], message: str
) -> None:
    for name, count in counts.items():
        write_images(tmp_path / name, count)
    with pytest.raises(DataError, match=message):
        load(f"folder:{tmp_path}")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        load(f"folder:{tmp_path / 'nowhere'}")
