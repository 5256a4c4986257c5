"""Running out of memory says what was held and what to lower."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from workbench.engine import Machine
from workbench.memory import OutOfMemory, amount, held_by, is_out_of_memory, told_of_memory
from workbench.methods.bilevel import darts
from workbench.protocols import Clock
from workbench.refusals import with_flags

from .tiny import CPU, SPACES, shrunk, start

SPACE, METHOD = SPACES["darts"], shrunk(darts)
STARVED = """
import resource
from dataclasses import replace
import psutil, torch
from workbench import methods
from workbench.memory import told_of_memory
from workbench.protocols import Clock
from workbench.spaces.darts import darts
from tests.tiny import READABLE, shrunk, start, tiny_data

space, method = darts(channels=16, cells=3), shrunk(methods.darts, batch_size=4000)
data = tiny_data()
data = replace(data, train=data.train.take(torch.arange(9600) % 48))
READABLE.prepare()
run = start(method, space, data=data, machine=READABLE)
most = psutil.Process().memory_info().vms + 30 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
with told_of_memory("step 0", READABLE, method.stages[0], space, run):
    run.step(Clock(0, 0, 1, 0, 1))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS binds on Linux")
def test_a_step_without_memory_says_what_was_held_and_what_to_lower() -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", STARVED], cwd=root, capture_output=True, text=True, check=False
    )
    line = done.stderr.splitlines()[-1]
    assert line.startswith(
        "workbench.memory.OutOfMemory: out of host memory at step 0, on cpu: held weights "
    ), done.stderr
    assert "images 675.0 KiB" in line  # 4,800 digits in each half: 64 pixels, labels of 8 bytes
    assert "by ulimit -v (addresses)" in line
    assert line.endswith("Lower `batch_size=4000`, `channels=16`, `cells=3`, in this order")


def test_what_a_stage_holds_is_counted() -> None:
    run = start(METHOD, SPACE)
    before = held_by(run)
    parameters = sum(p.numel() for p in run.net.parameters())
    buffers = sum(b.numel() * b.element_size() for b in run.net.buffers())
    assert before["weights"] == 4 * parameters + buffers
    assert before["images"] == 48 * (8 * 8 + 8)  # pixels of one byte, labels of eight
    assert before["optimizer state"] == 0
    run.step(Clock(0, 0, 1, 0, 3))
    assert held_by(run)["optimizer state"] == 4 * parameters  # momentum
    assert held_by(run)["alphas"] > before["alphas"]


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
        pytest.raises(OutOfMemory, match=r"at making the supernet, on cpu: nothing .* held yet"),
        told_of_memory("making the supernet", CPU, METHOD.stages[0], SPACE),
    ):
        raise error


def test_other_errors_pass_as_they_are() -> None:
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with (
        pytest.raises(RuntimeError) as caught,
        told_of_memory("step 1", CPU, METHOD.stages[0], SPACE),
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

    with pytest.raises(OutOfMemory), told_of_memory("step 1", CPU, METHOD.stages[0], SPACE):
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
        told_of_memory("step 7", machine, METHOD.stages[0], SPACE, start(METHOD, SPACE)),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory.")
    line = str(caught.value)
    assert line.startswith("out of GPU memory at step 7, on cuda: held weights ")
    assert "at the peak 70.0 GiB of the step, mostly activations" in line
    assert "the GPU has 80.0 GiB, 1.0 GiB of it free" in line
    assert with_flags(line).endswith(
        "Lower --batch-size 8, --channels 4, --cells 3, in this order, or set --recompute, or set "
        "--precision bfloat16"
    )


def test_amounts_are_in_the_unit_that_fits() -> None:
    said = [amount(count) for count in (0, 1023, 1024, 3 * 2**19, 5 * 2**30)]
    assert said == ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB"]
