"""A run in words: the lines of its table in a terminal and in a notebook."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from workbench.trace.frames import COSTS

if TYPE_CHECKING:
    from workbench.trace.runs import Run


def about(run: Run) -> dict[str, str]:
    """What it is and how far it has come."""
    words = {"method": run.named("method"), "space": run.named("space"), "data": run.named("data")}
    status = run.state
    if status == run.status and not run.ended:
        status += f" (last sign of life {run.header['heartbeat']})"
    return {
        "path": str(run.path),
        **{name: word for name, word in words.items() if word is not None},
        "status": status,
        "epochs": str(len(run.epochs)),
        "steps": str(run.steps),
    }


def results(run: Run) -> dict[str, str]:
    """What there is to say of its end."""
    out = {"error": str(run.header["error"])} if run.header["error"] else {}
    if len(run.epochs):
        last = run.epochs.iloc[-1].drop(["epoch", "stage", "step", "genotype", *COSTS])
        out |= {str(name): f"{value:.4g}" for name, value in last.dropna().items()}
    if run.genotype is not None:
        out["genotype"] = str(run.genotype)
    if run.evaluations:
        found = [f"{evaluation['test_accuracy']:.4f}" for evaluation in run.evaluations]
        out["test accuracy"] = ", ".join(found)
    return out


def table(run: Run) -> str:
    """Both as a table of HTML."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(value)}</td></tr>"
        for name, value in {**about(run), **results(run)}.items()
    )
    return f"<table>{rows}</table>"
