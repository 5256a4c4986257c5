"""Running out of memory says what was held and what to lower."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import psutil
import pytest
import torch

from tests.faults.processes import ended, started
from workbench import moves
from workbench.cli import main
from workbench.config import SearchConfig
from workbench.engine import Machine
from workbench.errors import OutOfMemory, is_out_of_memory
from workbench.memory import amount, held_by, tensors_of, told_of_memory
from workbench.methods.bilevel import darts
from workbench.protocols import Clock
from workbench.refusals import with_flags
from workbench.search import search
from workbench.snapshots import State, _packed
from workbench.spaces.darts import darts as darts_space
from workbench.trace import open_run
from workbench.trace.checkpoints import newest
from workbench.trace.folder import CHECKPOINTS
from workbench.training import Training

from .tiny import CPU, READABLE, SPACES, shrunk, start, tiny_data

SPACE, METHOD = SPACES["darts"], shrunk(darts)
LOWER = {"batch_size": 8, "channels": 4, "cells": 3}


def starved(into: Path) -> None:
    """In a process of its own: a search that may take 30 MiB more; writes how that ended."""
    import resource

    space, method = darts_space(channels=16, cells=3), shrunk(darts, batch_size=4000)
    data = tiny_data()
    data = replace(data, train=data.train.take(torch.arange(9600) % 48))
    events = search(method, space, data, machine=READABLE)
    next(events)  # the supernet is made
    before = resource.getrlimit(resource.RLIMIT_AS)
    most = psutil.Process().memory_info().vms + 30 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        list(events)
    except OutOfMemory as error:
        resource.setrlimit(resource.RLIMIT_AS, before)
        into.write_text(str(error), encoding="utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS binds on Linux")
def test_a_step_without_memory_says_what_was_held_and_what_to_lower(tmp_path: Path) -> None:
    assert ended(started(starved, tmp_path / "said")) == 0
    line = (tmp_path / "said").read_text(encoding="utf-8")
    assert line.startswith("out of host memory at step 0, on cpu: held weights ")
    assert "images 675.0 KiB" in line  # 4,800 digits in each half: 64 pixels, labels of 8 bytes
    assert "by ulimit -v (addresses)" in line
    assert line.endswith("Lower `batch_size=4000`, `channels=16`, `cells=3`, in this order")


def test_what_a_stage_holds_is_counted() -> None:
    run = start(METHOD, SPACE)

    def held() -> dict[str, int]:
        alphas, images = run.arch.parameters(), run.train.held() + run.val.held()
        return held_by(run.net, run.weight_optimizer, images, alphas)

    before = held()
    parameters = sum(p.numel() for p in run.net.parameters())
    buffers = sum(b.numel() * b.element_size() for b in run.net.buffers())
    assert before["weights"] == 4 * parameters + buffers
    assert before["images"] == 48 * (8 * 8 + 8)  # pixels of one byte, labels of eight
    assert before["optimizer state"] == 0
    run.step(Clock(0, 0, 1, 0, 3))
    assert held()["optimizer state"] == 4 * parameters  # momentum
    assert before["alphas"] == sum(4 * alpha.numel() for alpha in run.arch.parameters())
    assert len(tensors_of(run.arch_optimizer)) > 0


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    ],
)
def test_every_way_of_saying_it_is_understood(error: Exception) -> None:
    assert is_out_of_memory(error)
    with (
        pytest.raises(
            OutOfMemory, match=r"at making the supernet, on cpu: nothing of it was held yet"
        ),
        told_of_memory("making the supernet", CPU, LOWER),
    ):
        raise error


def test_other_errors_pass_as_they_are() -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with (
        pytest.raises(RuntimeError) as caught,
        told_of_memory("step 1", CPU, LOWER),
    ):
        raise error
    assert caught.value is error


def test_what_the_step_had_computed_is_let_go_of() -> None:
    class Big:
        """Stands for an activation."""

    import weakref

    kept: list[weakref.ref[Big]] = []

    def step() -> None:
        activation = Big()
        kept.append(weakref.ref(activation))
        raise MemoryError

    with pytest.raises(OutOfMemory), told_of_memory("step 1", CPU, LOWER):
        step()
    assert kept[0]() is None


def test_a_gpu_is_told_with_its_own_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: 70 * gib)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 75 * gib)
    machine = cast(
        Machine,
        SimpleNamespace(
            torch_device=torch.device("cuda"),
            engine="auto",
            recompute=False,
            precision="float32",
        ),
    )
    with (
        pytest.raises(OutOfMemory) as caught,
        told_of_memory("step 7", machine, LOWER, lambda: {"weights": 2**20}, supernet=True),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    line = str(caught.value)
    assert line.startswith("out of GPU memory at step 7, on cuda: held weights 1.0 MiB")
    assert "at the peak 70.0 GiB of the step, mostly activations" in line
    assert "the GPU has 80.0 GiB, 1.0 GiB of it free" in line
    assert with_flags(line).endswith(
        "Lower --batch-size 8, --channels 4, --cells 3, in this order, or set --recompute, or set "
        "--precision bfloat16"
    )


def test_amounts_are_in_the_unit_that_fits() -> None:
    said = [amount(count) for count in (0, 1023, 1024, 3 * 2**19, 5 * 2**30)]
    assert said == ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB"]


WORDS = ["--method", "darts", "--channels", "4", "--cells", "3", "--nodes", "2", "--epochs", "2"]
WORDS += ["--batch-size", "128", "--device", "cpu", "--checkpoint-steps", "1"]


def starve(patch: pytest.MonkeyPatch, owner: type, name: str, calls: int) -> None:
    """From so many calls of a method on each asks for more memory than any machine has."""
    whole, left = getattr(owner, name), iter(range(calls))

    def starved(self, *arguments):
        if next(left, None) is None:
            torch.empty(2**50, dtype=torch.uint8)
        return whole(self, *arguments)

    patch.setattr(owner, name, starved)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The line that a command ends with."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_a_search_and_an_evaluation_without_memory_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "starved"
    main(["search", *WORDS, "--out", str(tmp_path / "whole")])
    with monkeypatch.context() as patch:
        starve(patch, moves, "_update", 11)  # in the midst of a step
        line = refused(["search", *WORDS, "--out", str(out)], capsys)
    assert "out of host memory at step 5, on cpu: held weights " in line
    assert "Lower --batch-size 128, --channels 4, --cells 3, in this order, or" in line
    assert line.endswith(f"; go on with: workbench search --resume {out}")
    assert open_run(out).status == "failed"
    assert len(open_run(out).trace.step) == 5
    main(["search", "--resume", str(out)])
    runs = [open_run(tmp_path / name) for name in ("whole", "starved")]
    np.testing.assert_array_equal(runs[1].trace["mix"].values, runs[0].trace["mix"].values)
    assert runs[1].genotype == runs[0].genotype

    evaluation = ["--epochs", "2", "--batch-size", "512", "--channels", "4", "--device", "cpu"]
    main(["evaluate", str(runs[0].path), *evaluation])
    with monkeypatch.context() as patch:
        starve(patch, Training, "_step", 3)
        line = refused(["evaluate", str(runs[1].path), *evaluation], capsys)
    assert "out of host memory at step " in line
    assert "Lower --batch-size 512, --channels 4, --cells " in line
    assert "recompute" not in line
    assert line.endswith(f"; go on with: workbench evaluate {runs[1].path} --resume")
    main(["evaluate", str(runs[1].path), "--resume"])
    whole, again = (open_run(run.path).evaluation for run in runs)
    assert again["test_accuracy"] == whole["test_accuracy"]


def test_a_state_that_cannot_be_saved_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, left = tmp_path / "run", iter(range(4))

    def starved(state: State) -> State:
        if next(left, None) is None:
            torch.empty(2**50, dtype=torch.uint8)
        return _packed(state)

    with monkeypatch.context() as patch:
        patch.setattr("workbench.snapshots._packed", starved)
        line = refused(["search", *WORDS, "--out", str(out)], capsys)
    assert "out of host memory at saving the state, on cpu: held weights " in line
    assert "Lower --batch-size 128, --channels 4, --cells 3" in line
    assert line.endswith(f"; go on with: workbench search --resume {out}")
    assert newest(out / CHECKPOINTS, out).number == 3
    main(["search", "--resume", str(out)])
    assert open_run(out).status == "finished"


def test_a_command_without_memory_of_no_training_says_so_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def starved(*_):
        raise MemoryError

    monkeypatch.setattr("workbench.cli.COMMANDS", {"check": starved})
    assert refused(["check"], capsys).startswith("workbench: out of memory; ")


def test_the_command_that_goes_on_keeps_its_path() -> None:
    command = "workbench search --resume runs/batch_size/a"
    assert with_flags(f"lower batch_size; go on with: {command}") == (
        f"lower --batch-size; go on with: {command}"
    )


def test_images_that_do_not_fit_say_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **settings: object) -> None:
        raise MemoryError

    monkeypatch.setattr("workbench.data.load", full)
    with pytest.raises(OutOfMemory, match=r"at reading the images of digits.*Lower image_size"):
        SearchConfig().build_data()
