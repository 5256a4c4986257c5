"""What comes from others is read, never executed; and it stays in its place."""

from __future__ import annotations

import ast
import io
import pickle
import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch

from tests.test_house import BENCHMARKS, PACKAGE, no_faults, tree, where
from workbench.data import DataError
from workbench.data.cifar_files import read_arrays, read_split, unpack
from workbench.settings import ConfigError
from workbench.snapshots import SnapshotError, load_state
from workbench.tasks import derive
from workbench.trace.checkpoints import Checkpointing, Checkpoints, newest

# --- nothing in the package executes what it reads ----------------------------------------------

FORBIDDEN = {"eval", "exec", "compile", "__import__"}
MODULES = {"marshal", "shelve", "dill", "cloudpickle", "joblib"}
# The unpickler of CIFAR's files, which can call nothing but what makes arrays.
PICKLE_IN = {"workbench/data/cifar_files.py"}


def dangers(module: ast.Module, *, pickle_allowed: bool = False) -> Iterator[tuple[int, str]]:
    """Lines of code that may execute what a file or a text says."""
    banned = MODULES if pickle_allowed else MODULES | {"pickle", "_pickle", "pickle5"}
    for node in ast.walk(module):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
            yield from ((node.lineno, f"import {n}") for n in names if n.split(".")[0] in banned)
        if isinstance(node, ast.Call):
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            called = ast.unparse(node.func)
            if _dangerous(called, given):
                yield node.lineno, ast.unparse(node)[:80]


def _dangerous(called: str, given: dict[str | None, str]) -> bool:
    last = called.split(".")[-1]
    return (
        called in FORBIDDEN
        or called in ("pickle.load", "pickle.loads", "pickle.Unpickler", "pd.read_pickle")
        or (called == "torch.load" and given.get("weights_only") != "True")
        or (last in ("load", "open_memmap") and given.get("allow_pickle") not in (None, "False"))
        or (called == "np.load" and "allow_pickle" not in given)
        or (called in ("yaml.load", "yaml.load_all") and given.get("Loader") not in SAFE_LOADERS)
        or last in ("unsafe_load", "full_load", "extractall", "unpack_archive")
        or given.get("shell") not in (None, "False")
        or called in ("os.system", "os.popen")
    )


SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader", "_Plain"}  # _Plain is a SafeLoader


def test_no_code_executes_what_it_reads():
    faults = []
    for path in [*PACKAGE, *BENCHMARKS]:
        name = path.relative_to(Path(__file__).parents[1]).as_posix()
        found = dangers(tree(path), pickle_allowed=name in PICKLE_IN)
        faults += [f"{where(path, line)}: {what}" for line, what in found]
    no_faults(faults)


@pytest.mark.parametrize(
    "text",
    [
        "eval(x)", "exec(x)", "compile(x, '', 'eval')", "import pickle", "from pickle import load",
        "import marshal", "import shelve", "torch.load(p)", "torch.load(p, weights_only=False)",
        "np.load(p)", "np.load(p, allow_pickle=True)", "yaml.load(t)", "yaml.unsafe_load(t)",
        "yaml.load(t, Loader=yaml.Loader)", "subprocess.run(x, shell=True)", "tar.extractall(p)",
        "os.system(x)", "pickle.loads(x)",
    ],
)  # fmt: skip
def test_the_rule_would_notice(text):
    assert list(dangers(ast.parse(text)))


def test_the_rule_lets_safe_code_be():
    text = "torch.load(p, weights_only=True); np.load(p, allow_pickle=False); block.compile()"
    assert not list(dangers(ast.parse(text)))


# --- CIFAR's pickles and archives ---------------------------------------------------------------


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def by_opcodes(module: str, name: str, argument: str) -> bytes:
    return f"c{module}\n{name}\n(S'{argument}'\ntR.".encode()


def test_a_hostile_pickle_is_refused_and_executes_nothing(tmp_path):
    made = tmp_path / "made"
    hostile = {
        "object": pickle.dumps({"data": Touch(made)}),
        "system": by_opcodes("os", "system", f"touch {made}"),
        "eval": by_opcodes("builtins", "eval", f"open({str(made)!r}, 'w')".replace("'", '"')),
        "dotted": b"\x80\x04\x8c\x05numpy\x8c\x10load.__globals__\x93.",
    }
    for name, content in hostile.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"is refused: .*would call") as caught:
            read_arrays(path)
        assert "\n" not in str(caught.value)
    assert not made.exists()
    pickle.loads(hostile["object"])  # the same file would have been executed
    assert made.exists()


@pytest.mark.parametrize("content", [b"", b"\x80", b"I1\n.", b"(lp0\n.", b"\xff" * 100])
def test_a_pickle_that_is_no_file_of_cifar_is_refused(tmp_path, content):
    (tmp_path / "data_batch_1").write_bytes(content)
    with pytest.raises(DataError, match="data_batch_1"):
        read_split(tmp_path, ["data_batch_1"])


@pytest.mark.parametrize(
    "found",
    [
        {"data": [1], "labels": [1]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": [0]},
        {"data": np.zeros((1, 3071), np.uint8), "labels": [0]},
        {"data": np.zeros((1, 3072), np.float32), "labels": [0]},
        {"data": np.zeros((1, 3072), np.uint8), "labels": [100]},
        {"data": np.zeros((1, 3072), np.uint8)},
    ],
)
def test_pixels_and_labels_that_do_not_fit_are_refused(tmp_path, found):
    (tmp_path / "batch").write_bytes(pickle.dumps(found, protocol=2))
    with pytest.raises(DataError, match="batch"):
        read_split(tmp_path, ["batch"])


def archive(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def test_an_archive_puts_only_the_wanted_files_and_only_into_its_root(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    made = archive(
        tmp_path / "a.tar.gz",
        (member("../outside"), b"x"),
        (member(str(outside)), b"x"),
        (member("set/../../outside"), b"x"),
        (member("set/device", tarfile.CHRTYPE), b""),
        (member("set/pipe", tarfile.FIFOTYPE), b""),
        (member("set/link", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (member("set/extra"), b"x"),
        (member("./set/wanted"), b"pixels"),
    )
    unpack(made, root, ["set/wanted"])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files) == [made, root / "set" / "wanted"]
    assert (root / "set" / "wanted").read_bytes() == b"pixels"


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "../secret"), (tarfile.CHRTYPE, ""),
        (tarfile.BLKTYPE, ""), (tarfile.FIFOTYPE, ""),
    ],
)  # fmt: skip
def test_a_wanted_file_that_is_a_link_or_a_device_is_refused(tmp_path, kind, link):
    made = archive(tmp_path / "a.tar.gz", (member("set/wanted", kind, link), b""))
    with pytest.raises(DataError, match="set/wanted' is no plain file"):
        unpack(made, tmp_path / "root", ["set/wanted"])
    assert not (tmp_path / "root").exists()


def test_a_folder_that_is_a_link_out_of_the_root_is_not_written_into(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir(), outside.mkdir()
    (root / "set").symlink_to(outside)
    made = archive(tmp_path / "a.tar.gz", (member("set/wanted"), b"x"))
    with pytest.raises(DataError, match="is a link out of"):
        unpack(made, root, ["set/wanted"])
    assert not list(outside.iterdir())


def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path):
    secret, place = tmp_path / "secret", tmp_path / "root" / "set" / "wanted"
    secret.write_text("mine")
    place.parent.mkdir(parents=True)
    place.symlink_to(secret)
    unpack(
        archive(tmp_path / "a.tar.gz", (member("set/wanted"), b"x")),
        tmp_path / "root",
        ["set/wanted"],
    )
    assert (secret.read_text(), place.read_text()) == ("mine", "x")


# --- checkpoints --------------------------------------------------------------------------------


def hostile_states(made: Path) -> dict[str, bytes]:
    """States that would make the file `made`, in every form that torch writes or once wrote."""
    forms = {
        "pickle": pickle.dumps(Touch(made)),
        "system": by_opcodes("os", "system", f"touch {made}"),
    }
    for zipped in (True, False):
        for name, state in {
            "alone": Touch(made),
            "inside": {"of": {}, "alpha": Touch(made)},
        }.items():
            stream = io.BytesIO()
            torch.save(state, stream, _use_new_zipfile_serialization=zipped)
            forms[f"{name}, {'zip' if zipped else 'old'}"] = stream.getvalue()
    return forms


def _put(content: bytes, out: BinaryIO) -> None:
    out.write(content)


def test_a_hostile_checkpoint_is_refused_and_executes_nothing(tmp_path):
    made = tmp_path / "made"
    found = None
    for number, (name, content) in enumerate(hostile_states(made).items()):
        place = tmp_path / str(number)
        facts = {"clock": {"stage": 0, "epoch": 0, "step": 0}, "record": {}}
        Checkpoints(place, Checkpointing()).write(partial(_put, content), facts)
        found = newest(place, place)  # its checksums fit: they are against damage, not forgery
        with pytest.raises(SnapshotError, match=r"checkpoint_0.pt holds no saved state") as caught:
            load_state(found.state)
        assert "\n" not in str(caught.value), name
    assert found is not None
    assert not made.exists()
    torch.load(found.state, weights_only=False)  # the same file would have been executed
    assert made.exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"I1\n.", b"PK\x03\x04", b"\xff" * 100, b"PK\x05\x06" + bytes(18)]
)
def test_a_checkpoint_that_holds_no_state_is_refused_in_a_line(tmp_path, content):
    (tmp_path / "checkpoint_0.pt").write_bytes(content)
    with pytest.raises(SnapshotError, match=r"checkpoint_0.pt holds ") as caught:
        load_state(tmp_path / "checkpoint_0.pt")
    assert "\n" not in str(caught.value)


# --- .npz files ---------------------------------------------------------------------------------


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "alphas.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("normal.npy", bytes(200 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ConfigError, match=r"unpacks to 1 arrays of 209,715,200 bytes"):
        derive(path, "darts", "top2")


def test_an_array_that_says_it_is_huge_is_refused_before_there_is_room_for_it(tmp_path):
    path, stream = tmp_path / "alphas.npz", io.BytesIO()
    about = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 8)}
    np.lib.format.write_array_header_1_0(stream, about)
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("normal.npy", stream.getvalue())
    with pytest.raises(ConfigError, match=r"says it holds \(1000000000000, 8\) values"):
        derive(path, "darts", "top2")


def test_an_array_of_objects_is_refused_and_executes_nothing(tmp_path):
    path, made = tmp_path / "alphas.npz", tmp_path / "made"
    np.savez(path, normal=np.array([Touch(made)], dtype=object))
    with pytest.raises(ConfigError, match=r"cannot be read as an .npz file"):
        derive(path, "darts", "top2")
    assert not made.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"PK\x03\x04", b"\x93NUMPY"])
def test_a_file_that_is_no_npz_is_refused_in_a_line(tmp_path, content):
    path = tmp_path / "alphas.npz"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        derive(path, "darts", "top2")
    assert "\n" not in str(caught.value)
