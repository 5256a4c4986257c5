"""Which supernet a stage runs on: the fast one, or the readable one and why."""

from __future__ import annotations

import logging
from functools import cache
from importlib import import_module

import torch
from torch import nn

from workbench.engine.layout import OPS
from workbench.engine.machine import Machine
from workbench.engine.packed import WIDEST, Kernels, PackedCell
from workbench.engine.supernet import FastSupernet
from workbench.protocols import EdgeForm, Objective, WeightOptimizer
from workbench.spaces.supernet import SearchCell, Supernet

_LOG = logging.getLogger(__name__)


def accelerated(
    net: Supernet,
    machine: Machine,
    *,
    opens_net: bool,
    elementwise: bool,
    steps_captured: bool = False,
) -> Supernet | FastSupernet:
    """The fast supernet with the weights of `net`, or `net` itself where that would differ.

    A fall-back says why, in one line of the log.

    Args:
        opens_net: whether the stage's objective looks at modules inside the net.
        elementwise: whether its weight optimizer treats every number alike.
        steps_captured: whether its steps are captured as wholes, so that passes need not be.
    """
    if machine.engine == "readable":
        return net
    reason = _refusal(net, opens_net=opens_net, elementwise=elementwise)
    if reason is None:
        kernels = _kernels(net, machine)
        graphs = machine.graphs and not steps_captured
        fast = FastSupernet(net, kernels=kernels, recompute=machine.recompute, graphs=graphs)
        cells = [block for block in fast.blocks if isinstance(block, PackedCell)]
        if kernels == "cpu" and any(cell.strides for cell in cells):
            _LOG.warning(
                "reduction cells run in torch operations, which are slower: no kernel is there for "
                "an ordinary convolution with stride 2"
            )
        if kernels == "triton" and any(cell.layout.form.is_special for cell in cells):
            _LOG.warning("cells of partial channels or chosen operations run in torch operations")
        elif kernels == "triton" and not all(cell.kernels for cell in cells):
            _LOG.warning("cells of more than %s channels run in torch operations", WIDEST)
        if fast.chosen and (machine.compile or graphs):
            _LOG.warning("what runs is chosen in every pass: cells are not compiled or captured")
        elif machine.compile:
            for block in fast.blocks:
                block.compile()
        return fast
    _LOG.warning("searching on the readable supernet, which is slower: %s", reason)
    return net


def _kernels(net: nn.Module, machine: Machine) -> Kernels | None:
    """Those that the machine asks for and that can be had."""
    if machine.engine == "triton":
        return "triton" if triton_imports() else None
    return "cpu" if machine.engine == "auto" and net_on_cpu(net) and kernels_compile() else None


def needs(objective: Objective, optimizer: WeightOptimizer) -> tuple[bool, bool]:
    """Whether an objective opens the net, and whether an optimizer's step is elementwise.

    A part that does not say is taken at its most demanding: the readable supernet does for all.
    """
    return getattr(objective, "opens_net", True), getattr(optimizer, "elementwise", False)


def net_on_cpu(net: nn.Module) -> bool:
    """Whether the weights lie in the CPU's memory, in a format the kernels know."""
    weight = next(net.parameters())
    return weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)


@cache
def kernels_compile() -> bool:
    """Whether CPU kernels can be had here; one line in the log if not."""
    try:
        import_module("workbench.engine.kernels.separable")
    except ImportError as error:  # no Numba for this Python, or none for this processor
        _LOG.warning("no compiled kernels, which are faster: %s", error)
        return False
    return True


@cache
def triton_imports() -> bool:
    """Whether Triton can be had here; one line in the log if not."""
    try:
        import_module("triton")
    except ImportError as error:  # torch brings it on Linux only
        _LOG.warning("no Triton kernels, cells run in torch operations: %s", error)
        return False
    return True


def _refusal(net: Supernet, *, opens_net: bool, elementwise: bool) -> str | None:
    if opens_net:
        return "the objective looks at modules inside the net"
    if not elementwise:
        return "the weight optimizer treats each tensor by itself"
    if not isinstance(net.activation(), nn.ReLU):
        return f"the activation is {type(net.activation()).__name__}, not ReLU"
    forms: dict[str, EdgeForm | None] = {}
    for cell in _cells(net):
        if reason := _refusal_of(cell):
            return reason
        form = EdgeForm.of(cell.edges[0])
        if forms.setdefault(cell.kind, form) != form:
            return f"the mixed edges of {cell.kind} cells differ from cell to cell"
    return None


def _refusal_of(cell: SearchCell) -> str | None:
    """Why a readable cell cannot be packed, or None."""
    forms = [EdgeForm.of(edge) for edge in cell.edges]
    other = {type(e).__name__ for e, form in zip(cell.edges, forms, strict=True) if not form}
    if other:
        return f"the mixed edge {', '.join(sorted(other))} is neither a plain sum nor has a form"
    if any(form != forms[0] for form in forms):
        return "the mixed edges of a cell differ"
    unknown = {op for ops in cell.shape.ops for op in ops if op not in OPS}
    return f"operation {', '.join(sorted(unknown))} has no packed form" if unknown else None


def _cells(net: Supernet) -> list[SearchCell]:
    return [block for block in net.blocks if isinstance(block, SearchCell)]


def runs_steadily(net: Supernet | FastSupernet) -> bool:
    """Whether the mixed edges do the same at every `t`, as far as the fast supernet knows them."""
    if isinstance(net, FastSupernet):
        return all(form.is_steady for form in net.forms.values())
    forms = [EdgeForm.of(edge) for cell in _cells(net) for edge in cell.edges]
    return all(form is None or form.is_steady for form in forms)
