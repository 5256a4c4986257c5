"""One typed config: the command line, YAML files and notebook parameters are all this."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from workbench.settings import ConfigError, Settings, unknown
from workbench.spaces.named import SPACES

Precision = Literal["float32", "tf32", "bfloat16", "float64"]  # as engine.machine's, without torch

if TYPE_CHECKING:
    from workbench.data import Data
    from workbench.engine import Machine
    from workbench.method import Method
    from workbench.protocols import Probe
    from workbench.spaces.space import Space
    from workbench.walk import Walk


_WARM_UP = ("warm_up_epochs", "zero_cost_mode", "beta1", "beta2")


class SearchConfig(Settings):
    """Settings of a search.  What is left out is as the method's paper says."""

    method: str = Field(
        default="entmax3_prune_single_level", description="name in `workbench methods`"
    )
    space: str = Field(default="darts", description=f"search space: {', '.join(SPACES)}")
    data: str = Field(default="digits", description="digits, cifar10, cifar100 or folder:PATH")
    data_root: Path | None = Field(default=None, description="where CIFAR files are, or are put")
    download: bool = Field(default=True, description="whether missing CIFAR files may be fetched")
    image_size: int | None = Field(
        default=None, ge=1, description="side of a folder's images, pixels"
    )
    grey: bool = Field(default=False, description="make a folder's images grey")
    skip_unreadable: bool = Field(
        default=False, description="leave out a folder's unreadable images"
    )
    noise: float = Field(default=0.0, ge=0, description="sd of noise on normalised training images")
    channels: int | None = Field(
        default=None, ge=1, description="width of the supernet's first cell; 16, in gold 36"
    )
    cells: int | None = Field(
        default=None, ge=1, description="depth; cells per stage in nasbench201"
    )
    nodes: int | None = Field(default=None, ge=1, description="intermediate nodes of a cell")
    epochs: int | None = Field(default=None, ge=1, description="of all stages of the search phase")
    candidates: int | None = Field(default=None, ge=1, description="genotypes that a walk tries")
    batch_size: int | None = Field(default=None, ge=2, description="images of a batch")
    weight_lr: float | None = Field(
        default=None, gt=0, description="first learning rate of the weights"
    )
    arch_lr: float | None = Field(default=None, gt=0, description="learning rate of the alphas")
    entmax_order: float | None = Field(default=None, ge=1, description="order of an entmax method")
    weight_steps: int | None = Field(default=None, ge=1, description="weight steps per alpha step")
    warm_up_epochs: int | None = Field(
        default=None, ge=0, description="epochs of a zero-cost warm-up"
    )
    zero_cost_mode: Literal["weights", "alphas", "both", "score"] | None = Field(
        default=None, description="what moves in a zero-cost warm-up; score: alphas from scores"
    )
    beta1: float | None = Field(
        default=None, description="weight of log NTK in a zero-cost warm-up"
    )
    beta2: float | None = Field(
        default=None, description="weight of the BN term in a zero-cost warm-up"
    )
    probes: str | None = Field(
        default=None, description="measured at epochs' ends: op_outputs,hessian_eigenvalue …"
    )
    probe_every: int | None = Field(
        default=None, ge=1, description="steps from one measurement to the next, not epochs' ends"
    )
    seed: int = Field(default=0, ge=0, description="of weights, alphas, split and batches")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 …")
    threads: int = Field(default=1, ge=1, description="of the CPU; more are rarely faster")
    kernel_threads: int | None = Field(
        default=None, ge=1, description="of the fast supernet's CPU kernels; all cores by default"
    )
    precision: Precision = Field(
        default="float32", description="of the supernet; weights and alphas stay float32 below it"
    )
    engine: Literal["auto", "batched", "readable"] = Field(
        default="auto", description="auto: the fast supernet wherever it computes the same"
    )
    recompute: bool = Field(default=False, description="take more time and less memory")
    compile: bool = Field(default=False, description="put cells through torch.compile (GPU)")
    graphs: bool = Field(default=False, description="replay CUDA graphs (GPU)")
    deterministic: bool = Field(default=False, description="the same bits every time, or an error")
    out: Path | None = Field(default=None, description="run folder; by default a new one in runs/")

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
        from workbench import methods
        from workbench.parts.relaxations import Entmax
        from workbench.parts.schedules import Cosine
        from workbench.walk import Walk

        method: Method | Walk = getattr(methods, self.method)
        if isinstance(method, Walk):
            return self._walked(method)
        if self.candidates is not None:
            raise ConfigError(self._alien("candidates", "candidates one by one"))
        if self.epochs is not None:
            try:
                method = method.lasting(self.epochs)
            except ValueError as error:
                raise ConfigError(f"epochs: {error}") from error
        if self.batch_size is not None:
            stages = (replace(stage, batch_size=self.batch_size) for stage in method.stages)
            method = replace(method, stages=tuple(stages))
        stage = [stage for stage in method.stages if stage.name == "search"][-1]
        changes: dict[str, object] = {}
        if self.weight_lr is not None:
            lr = getattr(stage.weight_optimizer, "lr", None)
            new = self.weight_lr
            if isinstance(lr, Cosine):
                new = Cosine(self.weight_lr, lr.end * self.weight_lr / lr.start)
            changes["weight_optimizer"] = self._with("weight_lr", stage.weight_optimizer, lr=new)
        if self.arch_lr is not None:
            changes["arch_optimizer"] = self._with("arch_lr", stage.arch_optimizer, lr=self.arch_lr)
        if self.entmax_order is not None:
            if not isinstance(stage.relaxation, Entmax):
                raise ConfigError(self._alien("entmax_order", "an entmax relaxation"))
            changes["relaxation"] = Entmax(self.entmax_order)
        if self.weight_steps is not None:
            changes["schedule"] = self._with(
                "weight_steps", stage.schedule, weight_steps=self.weight_steps
            )
        return self._warmed_up(method.but(**changes))

    def _walked(self, walk: Walk) -> Walk:
        """The walk with these settings in it; those of a training are its score's."""
        if self.probes is not None:
            raise ConfigError(
                f"probes: method {self.method!r} tries genotypes one by one and has no supernet to "
                "measure; leave them out, or choose another method (`workbench methods`)"
            )
        for name in ("arch_lr", "entmax_order", "weight_steps", *_WARM_UP):
            if getattr(self, name) is not None:
                raise ConfigError(self._alien(name, "alphas with a gradient"))
        changed: object = walk.score
        for name, own in (("epochs", "epochs"), ("batch_size", "batch_size"), ("weight_lr", "lr")):
            if getattr(self, name) is not None:
                changed = self._with(name, changed, **{own: getattr(self, name)})
        try:
            return walk.but(score=changed, candidates=self.candidates or walk.candidates)
        except ValueError as error:
            raise ConfigError(f"candidates: {error}") from error

    def _warmed_up(self, method: Method) -> Method:
        """The method with these settings in its zero-cost warm-up."""
        from workbench.methods.papers import zero_cost_readings

        given = {name: getattr(self, name) for name in _WARM_UP if getattr(self, name) is not None}
        first = method.stages[0]
        if not given:
            return method
        if first.name != "warm_up":
            raise ConfigError(self._alien(next(iter(given)), "a zero-cost warm-up"))
        mode = given.get("zero_cost_mode", "weights")
        first = replace(zero_cost_readings[mode], batch_size=first.batch_size)
        betas = {name: given[name] for name in ("beta1", "beta2") if name in given}
        objective = self._with("beta1", first.objective, **betas)
        if mode == "score":
            if self.warm_up_epochs:
                raise ConfigError("warm_up_epochs: with zero_cost_mode score nothing is trained")
            init = self._with("beta1", first.init, zen=objective, size=self._picture_size())
            first = replace(first, init=init)  # pyright: ignore[reportArgumentType]
        elif self.warm_up_epochs is not None:
            first = replace(first, epochs=self.warm_up_epochs)
        first = replace(first, objective=objective)  # pyright: ignore[reportArgumentType]
        return replace(method, stages=(first, *method.stages[1:]))

    def _picture_size(self) -> tuple[int, int]:
        """Height and width of the pictures, in pixels."""
        side = 8 if self.data == "digits" else self.image_size or 32
        return side, side

    def _with(self, name: str, part: object, **changes: object) -> object:
        """A part with another field; ConfigError names the setting if it has none such."""
        try:
            return replace(part, **changes)  # pyright: ignore[reportArgumentType, reportCallIssue]
        except TypeError as error:
            raise ConfigError(self._alien(name, next(iter(changes)))) from error
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from error

    def _alien(self, name: str, what: str) -> str:
        return (
            f"{name}: method {self.method!r} has no such setting ({what}); leave it out, or choose "
            "another method (`workbench methods`)"
        )

    def build_space(self) -> Space:
        """The search space at this width and depth."""
        from workbench.spaces.named import named

        return named(self.space, channels=self.channels, cells=self.cells, nodes=self.nodes)

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
