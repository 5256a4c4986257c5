"""The settings of a search: names, types, bounds, what a form shows of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from workbench import limits
from workbench.settings import Settings, setting, unknown
from workbench.spaces.named import SPACES

Precision = Literal["float32", "tf32", "bfloat16", "float64"]  # as engine.machine's, without torch

# The groups of a form, in its order.
_SEARCHED, _TRAINING, _OWN = "what is searched", "training", "the method's own"
_WARM_UP, _DATA, _MACHINE = "zero-cost warm-up", "data", "machine and record"


class SearchSettings(Settings):
    """Settings of a search.  What is left out is as the method's paper says."""

    method: str = setting("entmax3_prune_single_level", "name in `workbench methods`", _SEARCHED)
    space: str = setting(
        "darts", f"search space: {', '.join(SPACES)}", _SEARCHED, choices=list(SPACES)
    )
    data: str = setting(
        "digits",
        "digits, cifar10, cifar100 or folder:PATH",
        _DATA,
        suggestions=["digits", "cifar10", "cifar100", "folder:"],
    )
    data_root: Path | None = setting(None, "where CIFAR files are, or are put", _DATA)
    download: bool = setting(True, "whether missing CIFAR files may be fetched", _DATA)
    image_size: int | None = setting(
        None, "side of a folder's images, pixels", _DATA, "pixels", ge=1, le=limits.PIXELS
    )
    grey: bool = setting(False, "make a folder's images grey", _DATA)
    skip_unreadable: bool = setting(
        False, "leave out a folder's unreadable images (see `workbench check`)", _DATA
    )
    noise: float = setting(
        0.0,
        "sd of noise on normalised training images",
        _DATA,
        "sd of the images",
        ge=0,
        le=limits.REAL,
    )
    channels: int | None = setting(
        None,
        "width of the supernet's first cell; 16, in gold 36",
        _SEARCHED,
        "channels",
        ge=1,
        le=limits.CHANNELS,
    )
    cells: int | None = setting(
        None, "depth; cells per stage in nasbench201", _SEARCHED, "cells", ge=1, le=limits.DEPTH
    )
    nodes: int | None = setting(
        None, "intermediate nodes of a cell", _SEARCHED, "nodes", ge=1, le=limits.CELL_NODES
    )
    epochs: int | None = setting(
        None, "of all stages of the search phase", _TRAINING, "epochs", ge=1, le=limits.EPOCHS
    )
    candidates: int | None = setting(
        None, "genotypes that a walk tries", _OWN, "genotypes", ge=1, le=limits.STEPS
    )
    batch_size: int | None = setting(
        None, "images of a batch", _TRAINING, "images", ge=2, le=limits.IMAGES
    )
    weight_lr: float | None = setting(
        None, "first learning rate of the weights", _TRAINING, gt=0, le=limits.REAL
    )
    arch_lr: float | None = setting(
        None, "learning rate of the alphas", _TRAINING, gt=0, le=limits.REAL
    )
    clip_arch: float | None = setting(
        None,
        "bound on the norm of the alphas' gradient; none by default",
        _TRAINING,
        gt=0,
        le=limits.REAL,
    )
    entmax_order: Annotated[float, Field(ge=1)] | str | None = setting(
        None, "order of an entmax method, or 1:2 to go from 1 to 2 over the stage", _OWN
    )
    weight_steps: int | None = setting(
        None, "weight steps per alpha step", _OWN, "steps", ge=1, le=limits.STEPS
    )
    warm_up_epochs: int | None = setting(
        None, "epochs of a zero-cost warm-up", _WARM_UP, "epochs", ge=0, le=limits.EPOCHS
    )
    zero_cost_mode: Literal["weights", "alphas", "both", "score"] | None = setting(
        None, "what moves in a zero-cost warm-up; score: alphas from scores", _WARM_UP
    )
    beta1: float | None = setting(
        None,
        ge=-limits.REAL,
        le=limits.REAL,
        about="weight of log NTK in a zero-cost warm-up",
        group=_WARM_UP,
    )
    beta2: float | None = setting(
        None,
        ge=-limits.REAL,
        le=limits.REAL,
        about="weight of the BN term in a zero-cost warm-up",
        group=_WARM_UP,
    )
    probes: str | None = setting(
        None, "measured at epochs' ends: op_outputs,hessian_eigenvalue …", _OWN
    )
    probe_every: int | None = setting(
        None,
        "steps from one measurement to the next, not epochs' ends",
        _OWN,
        "steps",
        ge=1,
        le=limits.STEPS,
    )
    seed: int = setting(0, "of weights, alphas, split and batches", _TRAINING, ge=0, le=limits.SEED)
    device: str = setting(
        "auto", "auto, cpu, cuda, cuda:1 …", _MACHINE, suggestions=["auto", "cpu", "cuda"]
    )
    threads: int = setting(
        1, "of the CPU; more are rarely faster", _MACHINE, "threads", ge=1, le=limits.THREADS
    )
    kernel_threads: int | None = setting(
        None,
        "of the fast supernet's CPU kernels; all cores by default",
        _MACHINE,
        "threads",
        ge=1,
        le=limits.THREADS,
    )
    precision: Precision = setting(
        "float32", "of the supernet; weights and alphas stay float32 below it", _MACHINE
    )
    engine: Literal["auto", "batched", "triton", "readable"] = setting(
        "auto", "auto: the fast supernet wherever it computes the same", _MACHINE
    )
    recompute: bool = setting(False, "take more time and less memory", _MACHINE)
    compile: bool = setting(False, "put cells through torch.compile (GPU)", _MACHINE)
    graphs: bool = setting(False, "replay CUDA graphs of whole steps (GPU)", _MACHINE)
    fused: bool = setting(False, "one kernel for a step of SGD or Adam", _MACHINE)
    deterministic: bool = setting(False, "the same bits every time, or an error", _MACHINE)
    checkpoint_steps: int | None = setting(
        None, "steps between saved states, beside epochs' ends", _MACHINE, "steps", ge=1
    )
    checkpoint_minutes: float | None = setting(
        10.0, "minutes between saved states, beside epochs' ends", _MACHINE, "minutes", gt=0
    )
    out: Path | None = setting(None, "run folder; by default a new one in runs/", _MACHINE)

    @field_validator("data")
    @classmethod
    def _whole_path(cls, value: str) -> str:
        """A folder is found again from any other folder."""
        limits.checked_path(value)
        kind, colon, path = value.partition(":")
        return f"folder:{limits.whole_path(path)}" if colon and kind == "folder" else value

    @field_validator("data_root")
    @classmethod
    def _whole_root(cls, value: Path | None) -> Path | None:
        return None if value is None else limits.whole_path(value)

    @field_validator("out")
    @classmethod
    def _possible_out(cls, value: Path | None) -> Path | None:
        if value is not None:
            limits.checked_path(str(value))
        return value

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        from workbench import methods

        if methods.find(value) is None:
            raise ValueError(unknown("method", value, list(methods.named())))
        return value

    @field_validator("space")
    @classmethod
    def _known_space(cls, value: str) -> str:
        if value not in SPACES:
            raise ValueError(unknown("space", value, list(SPACES)))
        return value

    @field_validator("entmax_order", mode="before")
    @classmethod
    def _order(cls, value: object) -> object:
        """A number, also as text; or `1:2`, two of them."""
        if value is None:
            return value
        try:
            ends = [float(end) for end in str(value).split(":")]
        except ValueError:
            ends = []
        if len(ends) not in (1, 2) or not all(1 <= end <= limits.REAL for end in ends):
            raise ValueError(
                f"must be a number from 1 to {limits.REAL:,.0f}, or two of them as in 1:2"
            )
        return ends[0] if len(ends) == 1 else ":".join(f"{end:g}" for end in ends)

    @field_validator("probes")
    @classmethod
    def _known_probes(cls, value: str | None) -> str | None:
        from workbench.probes import chosen

        if value is not None:
            chosen(value)
        return value
