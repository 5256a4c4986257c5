"""Settings put into a method, and the settings that a method has of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench import methods
from workbench.method import Method, Stage
from workbench.methods.papers import zero_cost_readings
from workbench.parts.relaxations import Entmax
from workbench.parts.schedules import Cosine, Linear
from workbench.settings import ConfigError
from workbench.walk import Walk

if TYPE_CHECKING:
    from workbench.config import SearchConfig

_WARM_UP = ("warm_up_epochs", "zero_cost_mode", "beta1", "beta2")
_OF_SCORES = {"epochs": "epochs", "batch_size": "batch_size", "weight_lr": "lr"}


class AlienError(ConfigError):
    """A setting that the method does not have, whatever its value."""


def method_of(config: SearchConfig) -> Method | Walk:
    """The method of `config` with its settings in it.

    Raises:
        AlienError: if a setting is none of this method's.
        ConfigError: if the method cannot have that value.
    """
    method: Method | Walk = getattr(methods, config.method)
    if isinstance(method, Walk):
        return _walked(config, method)
    if config.candidates is not None:
        raise _alien(config, "candidates", "candidates one by one")
    if config.epochs is not None:
        try:
            method = method.lasting(config.epochs)
        except ValueError as error:
            raise ConfigError(f"epochs: {error}") from error
    if config.batch_size is not None:
        stages = (replace(stage, batch_size=config.batch_size) for stage in method.stages)
        method = replace(method, stages=tuple(stages))
    stages = tuple(
        replace(stage, **_changes(config, stage)) if stage.name == "search" else stage  # pyright: ignore[reportArgumentType]
        for stage in method.stages
    )
    return _warmed_up(config, replace(method, stages=stages))


def own_settings(method: Method | Walk) -> dict[str, str | int | float]:
    """What the settings of `SearchConfig` are in this method: its paper's values, for a form.

    What is left out, the method has not, or has in a form that is no single setting.
    """
    found: dict[str, object]
    if isinstance(method, Walk):
        found = {name: getattr(method.score, own, None) for name, own in _OF_SCORES.items()}
        found["candidates"] = method.candidates
    else:
        stage = [stage for stage in method.stages if stage.name == "search"][-1]
        first = method.stages[0]
        found = {
            "epochs": sum(stage.epochs for stage in method.stages if stage.name != "warm_up"),
            "batch_size": stage.batch_size,
            "weight_lr": getattr(stage.weight_optimizer, "lr", None),
            "arch_lr": getattr(stage.arch_optimizer, "lr", None),
            "clip_arch": stage.clip_arch,
            "entmax_order": getattr(stage.relaxation, "alpha", None),
            "weight_steps": getattr(stage.schedule, "weight_steps", None),
        }
        if first.name == "warm_up":
            betas = {name: getattr(first.objective, name, None) for name in ("beta1", "beta2")}
            found |= {"warm_up_epochs": first.epochs, "zero_cost_mode": "weights", **betas}
    if isinstance(rate := found.get("weight_lr"), Cosine):
        found["weight_lr"] = rate.start
    if isinstance(order := found.get("entmax_order"), Linear):
        found["entmax_order"] = f"{order.start:g}:{order.end:g}"
    return {name: value for name, value in found.items() if isinstance(value, (str, int, float))}


def _changes(config: SearchConfig, stage: Stage) -> dict[str, object]:
    """The parts of a search stage that settings change."""
    changes: dict[str, object] = {}
    if config.weight_lr is not None:
        lr = getattr(stage.weight_optimizer, "lr", None)
        new = config.weight_lr
        if isinstance(lr, Cosine):
            new = replace(lr, start=config.weight_lr, end=lr.end * config.weight_lr / lr.start)
        changes["weight_optimizer"] = _with(config, "weight_lr", stage.weight_optimizer, lr=new)
    if config.arch_lr is not None:
        changes["arch_optimizer"] = _with(
            config, "arch_lr", stage.arch_optimizer, lr=config.arch_lr
        )
    if config.clip_arch is not None:
        changes["clip_arch"] = config.clip_arch
    if config.entmax_order is not None:
        if not isinstance(stage.relaxation, Entmax):
            raise _alien(config, "entmax_order", "an entmax relaxation")
        ends = [float(end) for end in str(config.entmax_order).split(":")]
        changes["relaxation"] = Entmax(ends[0] if len(ends) == 1 else Linear(*ends))
    if config.weight_steps is not None:
        changes["schedule"] = _with(
            config, "weight_steps", stage.schedule, weight_steps=config.weight_steps
        )
    return changes


def _walked(config: SearchConfig, walk: Walk) -> Walk:
    """The walk with these settings in it; those of a training are its score's."""
    for name in ("probes", "probe_every"):
        if getattr(config, name) is not None:
            raise _alien(config, name, "a supernet to measure")
    for name in ("arch_lr", "clip_arch", "entmax_order", "weight_steps", *_WARM_UP):
        if getattr(config, name) is not None:
            raise _alien(config, name, "alphas with a gradient")
    changed: object = walk.score
    for name, own in _OF_SCORES.items():
        if getattr(config, name) is not None:
            changed = _with(config, name, changed, **{own: getattr(config, name)})
    try:
        return walk.but(score=changed, candidates=config.candidates or walk.candidates)
    except ValueError as error:
        raise ConfigError(f"candidates: {error}") from error


def _warmed_up(config: SearchConfig, method: Method) -> Method:
    """The method with these settings in its zero-cost warm-up."""
    given = {name: getattr(config, name) for name in _WARM_UP if getattr(config, name) is not None}
    first = method.stages[0]
    if not given:
        return method
    if first.name != "warm_up":
        raise _alien(config, next(iter(given)), "a zero-cost warm-up")
    mode = given.get("zero_cost_mode", "weights")
    kept = {"batch_size": first.batch_size, "arch_optimizer": first.arch_optimizer}
    first = replace(zero_cost_readings[mode], **kept)
    betas = {name: given[name] for name in ("beta1", "beta2") if name in given}
    objective = _with(config, "beta1", first.objective, **betas)
    if mode == "score":
        if config.warm_up_epochs:
            raise ConfigError("warm_up_epochs: with zero_cost_mode score nothing is trained")
        init = _with(config, "beta1", first.init, zen=objective, size=_picture_size(config))
        first = replace(first, init=init)  # pyright: ignore[reportArgumentType]
    elif config.warm_up_epochs is not None:
        first = replace(first, epochs=config.warm_up_epochs)
    first = replace(first, objective=objective)  # pyright: ignore[reportArgumentType]
    return replace(method, stages=(first, *method.stages[1:]))


def _picture_size(config: SearchConfig) -> tuple[int, int]:
    """Height and width of the pictures, in pixels."""
    side = 8 if config.data == "digits" else config.image_size or 32
    return side, side


def _with(config: SearchConfig, name: str, part: object, **changes: object) -> object:
    """A part with another field; AlienError names the setting if it has none such."""
    try:
        return replace(part, **changes)  # pyright: ignore[reportArgumentType, reportCallIssue]
    except TypeError as error:
        raise _alien(config, name, next(iter(changes))) from error
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error


def _alien(config: SearchConfig, name: str, what: str) -> AlienError:
    return AlienError(
        f"{name}: method {config.method!r} has no such setting ({what}); leave it out, or choose "
        "another method (`workbench methods`)"
    )
