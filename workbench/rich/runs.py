"""Runs as HTML: how far they are, what they came to, what was found.  No torch."""

from __future__ import annotations

from workbench.comparison.numbers import counted
from workbench.comparison.runs import accuracies
from workbench.plots.cells import cells
from workbench.plots.ending import ending, epochs
from workbench.plots.summary import summary_table
from workbench.rich.html import (
    Html,
    bar,
    code,
    escaped,
    folded,
    heading,
    join,
    paragraph,
    picture,
    table,
)
from workbench.trace import Run, Runs

STATUS = {
    "finished": "✓", "running": "…", "paused": "‖", "killed": "✗", "stopped": "■", "failed": "✗",
}  # fmt: skip


def run(value: Run) -> Html:
    """Status and progress, the figures of its summary, and the cells as they are now."""
    names = (value.named("method"), value.named("space"), value.named("data"))
    title = heading(value.path.resolve().name, *names, f"seed {value.meta.get('seed', 'unknown')}")
    pieces: list[str] = [title, _status(value)]
    if not value.space:
        nothing = paragraph("nothing has been recorded yet")
        return join(*pieces, paragraph(ending(value)), nothing)
    done, planned = epochs(value)
    if value.status != "finished":
        pieces += [paragraph(f"{done} of {counted(planned, 'epoch')}"), bar(done, planned)]
    drawn = cells(value).svg if value.genotypes or value.genotype else None
    nothing = join(paragraph(ending(value)), paragraph("no epoch has ended yet"))
    return join(
        *pieces,
        Html(summary_table(value)._repr_html_()) if done else nothing,
        folded(_cells_title(value), picture(drawn), opened=True) if drawn else Html(),
        paragraph(Html(f'<span style="opacity:.75">{code(str(value.path))}</span>')),
    )


def runs(value: Runs) -> Html:
    """A row for each run."""
    head = ("run", "method", "space", "data", "seed", "status", "epochs", "test accuracy")
    table_ = table([_row(one) for one in value], head=head)
    return join(heading(f"{len(value)} run" + "s" * (len(value) != 1)), table_)


def _status(value: Run) -> Html:
    words = f"{STATUS[value.state]} {value.state}"
    if not value.ended:
        words += f", last sign of life {value.header['heartbeat']}"
    return paragraph(words)


def _cells_title(value: Run) -> str:
    return "cells" if value.genotype is not None else "cells as they would be derived now"


def _row(one: Run) -> tuple[object, ...]:
    done, planned = epochs(one)
    names = [one.named("method"), one.named("space"), one.named("data"), one.meta.get("seed")]
    return (
        Html(f'<span title="{escaped(one.path)}">{escaped(one.path.name)}</span>'),
        *("–" if name is None else name for name in names),
        f"{STATUS[one.state]} {one.state}",
        f"{done} of {planned}",
        _accuracy(accuracies(one)),
    )


def _accuracy(found: list[float]) -> str:
    """The mean over its trainings, as in a comparison, with how many they are."""
    if not found:
        return "–"
    mean = f"{100 * sum(found) / len(found):.2f} %"
    return mean if len(found) == 1 else f"{mean} (mean of {len(found)} trainings)"
