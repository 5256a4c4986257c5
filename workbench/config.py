"""One typed config: the command line, YAML files and notebook parameters are all this."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from workbench.settings import ConfigError, Settings, setting, unknown
from workbench.spaces.named import SPACES

Precision = Literal["float32", "tf32", "bfloat16", "float64"]  # as engine.machine's, without torch

if TYPE_CHECKING:
    from workbench.data import Data
    from workbench.engine import Machine
    from workbench.method import Method
    from workbench.protocols import Probe
    from workbench.spaces.space import Space
    from workbench.trace.checkpoints import Checkpointing
    from workbench.walk import Walk

# The groups of a form, in its order.
_SEARCHED, _TRAINING, _OWN = "what is searched", "training", "the method's own"
_WARM_UP, _DATA, _MACHINE = "zero-cost warm-up", "data", "machine and record"


# What may be another one when a search goes on: nothing of it is science or the form of the state.
MACHINE_SETTINGS = (
    "device", "threads", "kernel_threads", "recompute", "compile", "graphs",
    "checkpoint_steps", "checkpoint_minutes",
)  # fmt: skip


class SearchConfig(Settings):
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
        None, "side of a folder's images, pixels", _DATA, "pixels", ge=1
    )
    grey: bool = setting(False, "make a folder's images grey", _DATA)
    skip_unreadable: bool = setting(False, "leave out a folder's unreadable images", _DATA)
    noise: float = setting(
        0.0, "sd of noise on normalised training images", _DATA, "sd of the images", ge=0
    )
    channels: int | None = setting(
        None, "width of the supernet's first cell; 16, in gold 36", _SEARCHED, "channels", ge=1
    )
    cells: int | None = setting(
        None, "depth; cells per stage in nasbench201", _SEARCHED, "cells", ge=1
    )
    nodes: int | None = setting(None, "intermediate nodes of a cell", _SEARCHED, "nodes", ge=1)
    epochs: int | None = setting(
        None, "of all stages of the search phase", _TRAINING, "epochs", ge=1
    )
    candidates: int | None = setting(None, "genotypes that a walk tries", _OWN, "genotypes", ge=1)
    batch_size: int | None = setting(None, "images of a batch", _TRAINING, "images", ge=2)
    weight_lr: float | None = setting(None, "first learning rate of the weights", _TRAINING, gt=0)
    arch_lr: float | None = setting(None, "learning rate of the alphas", _TRAINING, gt=0)
    clip_arch: float | None = setting(
        None, "bound on the norm of the alphas' gradient; none by default", _TRAINING, gt=0
    )
    entmax_order: Annotated[float, Field(ge=1)] | str | None = setting(
        None, "order of an entmax method, or 1:2 to go from 1 to 2 over the stage", _OWN
    )
    weight_steps: int | None = setting(None, "weight steps per alpha step", _OWN, "steps", ge=1)
    warm_up_epochs: int | None = setting(
        None, "epochs of a zero-cost warm-up", _WARM_UP, "epochs", ge=0
    )
    zero_cost_mode: Literal["weights", "alphas", "both", "score"] | None = setting(
        None, "what moves in a zero-cost warm-up; score: alphas from scores", _WARM_UP
    )
    beta1: float | None = setting(None, "weight of log NTK in a zero-cost warm-up", _WARM_UP)
    beta2: float | None = setting(None, "weight of the BN term in a zero-cost warm-up", _WARM_UP)
    probes: str | None = setting(
        None, "measured at epochs' ends: op_outputs,hessian_eigenvalue …", _OWN
    )
    probe_every: int | None = setting(
        None, "steps from one measurement to the next, not epochs' ends", _OWN, "steps", ge=1
    )
    seed: int = setting(0, "of weights, alphas, split and batches", _TRAINING, ge=0)
    device: str = setting(
        "auto", "auto, cpu, cuda, cuda:1 …", _MACHINE, suggestions=["auto", "cpu", "cuda"]
    )
    threads: int = setting(1, "of the CPU; more are rarely faster", _MACHINE, "threads", ge=1)
    kernel_threads: int | None = setting(
        None, "of the fast supernet's CPU kernels; all cores by default", _MACHINE, "threads", ge=1
    )
    precision: Precision = setting(
        "float32", "of the supernet; weights and alphas stay float32 below it", _MACHINE
    )
    engine: Literal["auto", "batched", "readable"] = setting(
        "auto", "auto: the fast supernet wherever it computes the same", _MACHINE
    )
    recompute: bool = setting(False, "take more time and less memory", _MACHINE)
    compile: bool = setting(False, "put cells through torch.compile (GPU)", _MACHINE)
    graphs: bool = setting(False, "replay CUDA graphs (GPU)", _MACHINE)
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
        kind, colon, path = value.partition(":")
        return (
            f"folder:{Path(path).expanduser().resolve()}" if colon and kind == "folder" else value
        )

    @field_validator("data_root")
    @classmethod
    def _whole_root(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().resolve()

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
        if len(ends) not in (1, 2) or not all(math.isfinite(end) and end >= 1 for end in ends):
            raise ValueError("must be a number, 1 or more, or two of them as in 1:2")
        return ends[0] if len(ends) == 1 else ":".join(f"{end:g}" for end in ends)

    @field_validator("probes")
    @classmethod
    def _known_probes(cls, value: str | None) -> str | None:
        from workbench.probes import chosen

        if value is not None:
            chosen(value)
        return value

    def build_probes(self) -> tuple[Probe, ...]:
        """What measures the search.

        Raises:
            ConfigError: if nothing is to be measured every so many steps.
        """
        from workbench.probes import chosen

        if self.probes is None and self.probe_every is not None:
            raise ConfigError("probe_every: needs probes to measure; name some, or leave it out")
        return () if self.probes is None else chosen(self.probes, self.probe_every)

    def build_method(self) -> Method | Walk:
        """The method with these settings in it.

        Raises:
            ConfigError: if a setting is none of this method's.
        """
        from workbench.method_settings import method_of

        return method_of(self)

    def build_space(self) -> Space:
        """The search space at this width and depth."""
        from workbench.spaces.named import named

        return named(self.space, channels=self.channels, cells=self.cells, nodes=self.nodes)

    def check_data(self) -> None:
        """Whether there are such images, before any is read.

        Raises:
            ConfigError: if the name is unknown, the folder missing, or a setting a folder's only.
        """
        from workbench.data import DataError, check

        try:
            check(
                self.data,
                size=self.image_size,
                grey=self.grey,
                skip_unreadable=self.skip_unreadable,
            )
        except DataError as error:
            raise ConfigError(f"data: {error}") from error

    def build_data(self) -> Data:
        """The images."""
        from workbench.data import DataError, load

        try:
            data = load(
                self.data,
                root=self.data_root,
                download=self.download,
                size=self.image_size,
                grey=self.grey,
                skip_unreadable=self.skip_unreadable,
            )
        except DataError as error:
            raise ConfigError(f"data: {error}") from error
        return replace(data, augment=replace(data.augment, noise=self.noise))

    def checkpointing(self) -> Checkpointing:
        """When its state is saved."""
        from workbench.trace.checkpoints import Checkpointing

        return Checkpointing(self.checkpoint_steps, self.checkpoint_minutes)

    def build_machine(self) -> Machine:
        """Where it runs."""
        from workbench.engine import Machine

        return Machine(
            self.device,
            self.precision,
            self.threads,
            engine=self.engine,
            recompute=self.recompute,
            compile=self.compile,
            graphs=self.graphs,
            deterministic=self.deterministic,
            kernel_threads=self.kernel_threads,
        )
