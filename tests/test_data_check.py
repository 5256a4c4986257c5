"""A data set is reported file by file, and a record says which images it was made with."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.cli import main
from workbench.data import DataError, ImageSet, describe, inspect_folder, load
from workbench.data.decoding import decode
from workbench.snapshots import SnapshotError, identity, refuse_other

from .tiny import tiny_data

SIDE = 16


def picture(seed: int, channels: int = 3, side: int = SIDE) -> Image.Image:
    shape = (side, side, channels) if channels > 1 else (side, side)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def good(folder: Path, count: int, first: int) -> None:
    folder.mkdir(parents=True)
    for i in range(first, first + count):
        picture(i).save(folder / f"good{i}.png")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Two classes of whole images, and in the first one file of every kind."""
    a, top = tmp_path / "data" / "a", tmp_path / "data"
    good(a, 4, 0)
    good(top / "b", 4, 10)
    (a / "bytes.png").write_bytes(b"no image at all")
    (a / "empty.png").write_bytes(b"")
    (a / "link.png").symlink_to("nowhere.png")
    (a / "postscript.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    Image.fromarray(np.full((SIDE, SIDE), 0.5, np.float32)).save(a / "real.tif")
    for name in ("cut.png", "cut.jpg"):
        picture(20).save(a / name)
        (a / name).write_bytes((a / name).read_bytes()[:300])
    Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257).save(a / "deep.png")
    picture(21, 4).convert("CMYK").save(a / "ink.jpg")
    picture(22).quantize(8).save(a / "palette.png", transparency=0)
    picture(23).save(a / "moves.gif", save_all=True, append_images=[picture(24)])
    picture(25).save(a / "really.jpg", format="PNG")
    picture(26, side=1).save(a / "pixel.png")
    picture(10).save(a / "twin.png")
    return top


ERRORS = [
    ("a/bytes.png", "no image: its bytes are none of PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM"),
    ("a/cut.jpg", "truncated or damaged ("),
    ("a/cut.png", "truncated or damaged ("),
    ("a/empty.png", "empty (0 bytes)"),
    ("a/link.png", "a link to nothing (nowhere.png)"),
    ("a/postscript.png", "no image: its bytes are none of PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM"),
    ("a/real.tif", "pixels of mode F have no known range; save it as 8 bit"),
]
NOTES = [
    ("a/deep.png", "16 bits a channel: the upper 8 are kept"),
    ("a/ink.jpg", "CMYK: converted to RGB"),
    ("a/moves.gif", "several frames: the first is read"),
    ("a/palette.png", "transparency: dropped"),
    ("a/pixel.png", "small: 1x1 pixels become 16x16"),
    ("a/really.jpg", "mislabelled: named .jpg, its bytes are PNG"),
    ("a/twin.png", "mislabelled: the same bytes are of class b (b/good10.png)"),
    ("b/good10.png", "mislabelled: the same bytes are of class a (a/twin.png)"),
]


def test_every_kind_of_file_is_reported_in_one_go(top: Path) -> None:
    total, findings = inspect_folder(top, SIDE)
    assert total == 8 + len(ERRORS) + len(NOTES) - 1
    for kind, wanted in (("error", ERRORS), ("note", NOTES)):
        found = [(f.path, f.text) for f in findings if f.kind == kind]
        assert [path for path, _ in found] == [path for path, _ in wanted]
        for (_, text), (_, want) in zip(found, wanted, strict=True):
            assert text.startswith(want)
            assert text == want or want.endswith("(")


def test_a_search_is_refused_in_one_line_that_says_where_the_whole_list_is(top: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(f"folder:{top}", size=SIDE)
    line = str(caught.value)
    assert line.startswith(f"7 of 22 images cannot be read: {top}/a/bytes.png (no image")
    assert "and 2 more" in line
    assert f"`workbench check folder:{top}` lists every file" in line
    assert "\n" not in line


def test_what_was_left_out_and_noted_is_told_and_recorded(
    top: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.warns(UserWarning, match="7 of 22 images .* They are left out"):
        data = load(f"folder:{top}", size=SIDE, skip_unreadable=True)
    assert "4 mislabelled" not in caplog.text
    assert "3 mislabelled, 1 16 bits a channel, 1 CMYK" in caplog.text
    said = json.loads(json.dumps(describe(data)))
    assert (said["left_out"], said["left_out_first"]) == (7, [path for path, _ in ERRORS])
    assert said["train_images"] + said["test_images"] == 15
    for path, _ in ERRORS:
        (top / path).unlink()
    repaired = describe(load(f"folder:{top}", size=SIDE))
    assert repaired["left_out"] == 0
    assert repaired["fingerprint"] == said["fingerprint"]


def test_a_search_goes_on_without_what_cannot_be_read(top: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["search", "--data", f"folder:{top}", "--image-size", "8", "--skip-unreadable"]
    small = ["--channels", "2", "--cells", "1", "--epochs", "1", "--batch-size", "2"]
    with pytest.warns(UserWarning, match="They are left out"):
        main([*words, *small, "--device", "cpu", "--out", str(out)])
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
    assert "a/empty.png" in (out / "run.json").read_text()


def test_the_command_lists_every_file_and_fails_if_one_cannot_be_read(
    top: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check", f"folder:{top}", "--image-size", str(SIDE)])
    said = capsys.readouterr()
    assert caught.value.code == 2
    assert said.err.startswith("workbench: 7 of 22 images cannot be read.")
    assert "--skip-unreadable" in said.err
    lines = said.out.splitlines()
    assert "error  a/empty.png: empty (0 bytes)" in lines
    assert "note   a/ink.jpg: CMYK: converted to RGB" in lines
    assert lines[-1] == "22 files: 7 cannot be read, 8 are read with a note"
    for path, _ in ERRORS:
        (top / path).unlink()
    main(["check", f"folder:{top}"])
    assert capsys.readouterr().out.endswith("15 files: 0 cannot be read, 8 are read with a note\n")


def test_the_same_bytes_in_train_and_test_are_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for split in ("train", "test"):
        good(tmp_path / split / "a", 4, 0)
        good(tmp_path / split / "b", 4, 10 if split == "train" else 20)
    _, findings = inspect_folder(tmp_path, SIDE)
    assert len(findings) == 8
    told = "in both splits: the same bytes are in test too (test/a/good0.png)"
    assert findings[0] == ("train/a/good0.png", "note", told)
    load(f"folder:{tmp_path}", size=SIDE)
    assert "8 in both splits; " in caplog.text
    assert "good0.png" not in caplog.text


def test_large_images_are_noted_and_bombs_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good(tmp_path / "a", 4, 0)
    good(tmp_path / "b", 4, 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIDE * SIDE // 2)
    notes = inspect_folder(tmp_path, SIDE)[1]
    assert {(found.kind, found.text) for found in notes} == {("note", "large: 256 pixels")}
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIDE * SIDE // 2 - 1)
    errors = inspect_folder(tmp_path, SIDE)[1]
    assert {found.text for found in errors} == {"a decompression bomb: more than 254 pixels"}


def test_sixteen_bit_colour_is_noted_though_pillow_says_rgb(tmp_path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)
    rows = (b"\0" + b"\x80\xff" * 3 * SIDE) * SIDE
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    found = decode(tmp_path / "deep.png", size=8, grey=False)
    assert found.notes == ("16 bits a channel: the upper 8 are kept",)
    assert found.pixels is not None
    assert found.pixels.unique().tolist() == [0x80]


def test_a_file_without_permission_is_an_error_of_its_own(tmp_path: Path) -> None:
    closed = tmp_path / "closed.png"
    picture(0).save(closed)
    closed.chmod(0)
    code = (
        "import os, sys; from pathlib import Path; from workbench.data.decoding import decode\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "print(decode(Path(sys.argv[1]), size=8, grey=False).error)"
    )
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)  # so that nobody reaches the file
    said = subprocess.run(
        [sys.executable, "-c", code, str(closed)], capture_output=True, text=True, check=False
    )
    assert said.stdout == "cannot be opened (Permission denied)\n", said.stderr


def test_a_class_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good(tmp_path / "a", 4, 0)
    good(tmp_path / "b", 4, 10)
    real = os.listdir

    def refuse(path: str) -> list[str]:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(DataError, match=r"b' cannot be listed \(Permission denied\)"):
        load(f"folder:{tmp_path}")


def test_too_large_a_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(0).save(tmp_path / "a.png")
    monkeypatch.setattr("workbench.data.decoding.MOST_BYTES", 10)
    error = decode(tmp_path / "a.png", size=8, grey=False).error
    assert error.startswith("too large (")


def test_other_pixels_or_labels_are_other_data() -> None:
    data = tiny_data()
    about = {"method": "any"}
    refuse_other({"of": identity(about, data, 0)}, identity(about, data, 0))
    pixels = data.train.images.clone()
    pixels[3, 0, 4, 4] ^= 1
    other = replace(data, train=ImageSet(pixels, data.train.labels))
    with pytest.raises(SnapshotError, match=r"saved with another data .*fingerprint.* → …"):
        refuse_other({"of": identity(about, data, 0)}, identity(about, other, 0))
    swapped = replace(data, train=ImageSet(data.train.images, data.train.labels.flip(0)))
    assert swapped.fingerprint not in (data.fingerprint, other.fingerprint)
    fewer = replace(data, train=data.train.take(torch.arange(40)))
    with pytest.raises(SnapshotError, match='"train_images": 40'):
        refuse_other({"of": identity(about, data, 0)}, identity(about, fewer, 0))


def test_what_is_no_file_is_reported_and_waited_for_by_nobody(
    top: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(top / "a" / "pipe.png")
    (top / "a" / "folder.png").mkdir()
    (top / "a" / "line\nbreak.png").write_bytes(b"")
    with pytest.raises(SystemExit):
        main(["check", f"folder:{top}"])
    said = capsys.readouterr().out.splitlines()
    assert "error  a/pipe.png: no plain file" in said
    assert "error  a/folder.png: a folder" in said
    assert "error  a/line�break.png: empty (0 bytes)" in said
