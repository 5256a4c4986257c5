"""What recorded measurements are called in figures: words and units."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING

from workbench.comparison.recorded import stages_of

if TYPE_CHECKING:
    from workbench.trace.runs import Run

MEASURED = {
    "mix": "Mixing weight",
    "alpha": "Architecture parameter α",
    "edge_weight": "Weight of the edge",
    "alpha_gradient": "Norm of the gradient in α",
    "op_norm": "Root mean square of the output",
    "op_cosine": "Cosine with the edge's output",
    "op_share": "Share of the edge's output",
    "op_weight_norm": "Norm of the operation's weights",
    "weight_norm": "Norm of all weights",
    "hessian_eigenvalue": "Largest eigenvalue of the Hessian in α",
    "accuracy_supernet": "Accuracy of the supernet (%)",
    "accuracy_masked": "Accuracy, masked to the genotype (%)",
    "loss_supernet": "Loss of the supernet (nats)",
    "loss_masked": "Loss, masked to the genotype (nats)",
    "zen": "Zen score",
    "log_ntk": "log NTK",
    "bn_term": "BN term",
}

IN_GAP = ("accuracy_supernet", "accuracy_masked", "loss_supernet", "loss_masked")  # drawn by `gap`
IN_PERCENT = {f"accuracy_{what}" for what in ("train", "val", "test", "supernet", "masked")}
SPLITS = {"train": "training data", "val": "validation data", "test": "test data"}


def label(name: str) -> str:
    """What is measured, in words with units; what somebody else measured keeps its name."""
    return MEASURED.get(name, name)


def images_of_gap(run: Run) -> str:
    """On which images `DiscretisationGap` measured: held-out ones where a stage holds some out."""
    method = run.meta.get("method")
    stages = stages_of(method) if isinstance(method, Mapping) else []
    known = [one for one in stages if "train_portion" in one]
    whole = {str(one["train_portion"]) in ("1", "1.0") for one in known}
    if len(whole) == 1:
        return "on training images" if True in whole else "on held-out images"
    return "on held-out images, in stages without any on training images" if whole else ""


def as_text(name: object) -> str:
    """A name from elsewhere as plotly shows it letter by letter.

    plotly reads a subset of HTML in every text, `%{…}` in templates, and formulas between dollar
    signs where a page has MathJax.
    """
    text = html.escape(str(name), quote=False)  # it knows no &quot;
    return text.replace("$", "&#36;").replace("%{", "&#37;{")


def of_split(name: str) -> tuple[str, int]:
    """What a figure calls what was measured on a split, and which `theme.series` that is in all."""
    split = name.rsplit("_", 1)[-1]
    number = list(SPLITS).index(split) if split in SPLITS else len(SPLITS)
    return SPLITS.get(split) or as_text(name), number


def in_percent(name: str) -> bool:
    """Is it recorded in [0, 1] and shown in percent?  What somebody else measured is not."""
    return name in IN_PERCENT


def probed(run: Run, axes: int | None = None) -> list[str]:
    """Names of what probes measured, of `axes` axes beside `step`, or of any form."""
    trace = run.trace
    names = [str(name) for name in trace.data_vars if trace[name].attrs.get("probed")]
    return [n for n in names if axes is None or trace[n].ndim == axes + 1]


def how_to(probe: str) -> str:
    """How to measure something that a run lacks, as text under "not measured"."""
    return f"search with probes=[EveryEpoch({probe}())] from workbench.probes"
