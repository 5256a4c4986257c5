"""The state of a stage under way as tensors and plain values, and the stage it makes again."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from workbench.data import Data
from workbench.engine import Machine, reloaded
from workbench.epochs import EpochUnderWay
from workbench.generators import generators, set_generators
from workbench.method import Method
from workbench.past import Past
from workbench.protocols import Batch, Clock, Mixture
from workbench.run import Run
from workbench.snapshots import SnapshotError, State, identity, refuse_other, taken_up
from workbench.spaces.space import Space


def state_of(run: Run) -> State:
    """Everything `run` would need to go on; its tensors are the run's own, not copies.

    Raises:
        DivergenceError: if it has diverged, which on a GPU is asked for only now.
    """
    run.watch.read(run)
    return {
        "of": identity(run.method.describe(), run.data, run.seed, run.asked.to_json()),
        "machine": _form(run),
        "index": run.index,
        "space": run.space.to_json(),
        "clock": asdict(run.clock),
        "epoch": run.epoch.state_dict(),
        "net": run.net.state_dict(),
        "alpha": run.arch.snapshot(),
        "beta": {kind: rows.detach() for kind, rows in run.arch.beta.items()},
        "alive": dict(run.arch.alive),
        "kept": dict(run.arch.kept),
        "weight_optimizer": run.weight_optimizer.state_dict(),
        "arch_optimizer": run.arch_optimizer.state_dict(),
        "generator": run.generator.get_state(),
        "generators": generators(),
        "train": run.train.state_dict(),
        "val": run.val.state_dict(),
        "batches": [None if batch is None else list(batch) for batch in run.last_batches],
        "mix": {kind: [mix.ops, mix.edges] for kind, mix in run.mix.items()},
        "last_weights": dict(run.last_weights),
        **run.past.state_dict(),
        "held": _held(run),
    }


@taken_up()
def reopened(
    state: State, method: Method, asked: Space, data: Data, machine: Machine, seed: int
) -> Run:
    """The run of which `state` was taken; `asked` is the space that the search was given.

    Raises:
        SnapshotError: if it was another search's, was taken on another kind of machine, or does not
            hold what is needed.
    """
    refuse_other(state, identity(method.describe(), data, seed, asked.to_json()))
    device = machine.torch_device
    space, here = Space.from_json(state["space"]), _on(state, device)
    run = Run(method, state["index"], space, data, machine, seed, None, saved=here)
    if _form(run) != state["machine"]:
        raise SnapshotError(
            f"the state was saved on {_words(state['machine'])}; this is {_words(_form(run))}. "
            "Go on where device kind, engine and number format are the same"
        )
    run.asked = asked
    run.net.load_state_dict(here["net"])
    reloaded(run.weight_optimizer, here["weight_optimizer"])
    reloaded(run.arch_optimizer, here["arch_optimizer"])
    run.train.load_state_dict(state["train"])
    run.val.load_state_dict(state["val"])
    first, second = (None if batch is None else Batch(*batch) for batch in here["batches"])
    run.last_batches = first, second
    run.mix = {kind: Mixture(ops, edges) for kind, (ops, edges) in here["mix"].items()}
    run.last_weights = here["last_weights"]
    run.past = Past.from_state(state)
    _hold(run, {(edge, op) for edge, op in state["held"]})
    run.clock = Clock(**state["clock"])
    run.epoch = EpochUnderWay.from_state(here["epoch"])
    run.generator.set_state(state["generator"])
    set_generators(state["generators"])
    return run


def _held(run: Run) -> list[list[str]]:
    """Names of edges and operations, as saved states have always had them."""
    return sorted(
        [cell.edge_names[edge], cell.columns[op]]
        for cell in run.space.cells
        for edge, op in run.held[cell.kind].nonzero().tolist()
    )


def _hold(run: Run, names: Set[tuple[str, str]]) -> None:
    """What `_held` named was told."""
    for cell in run.space.cells:
        rows = [[(edge, op) in names for op in cell.columns] for edge in cell.edge_names]
        run.held[cell.kind] = torch.tensor(rows, device=run.device)


def _form(run: Run) -> dict[str, str]:
    """What a state's tensors depend on."""
    weight = next(run.net.parameters())
    return {
        "device": run.device.type,
        "engine": type(run.net).__name__,
        "number format": str(weight.dtype),
    }


def _words(form: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in form.items())


def _on(value: Any, device: torch.device) -> Any:
    """A tree with its tensors on `device`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: _on(part, device) for name, part in value.items()}
    return [_on(part, device) for part in value] if isinstance(value, list) else value
