"""What methods there are, as data and as text: paper, difference from DARTS, counted passes."""

from __future__ import annotations

from dataclasses import dataclass

from workbench import methods
from workbench.method import Method, differences
from workbench.methods.bilevel import darts
from workbench.passes import Passes, passes
from workbench.walk import Walk


@dataclass(frozen=True)
class Listed:
    """One method; `differs` holds a text for each field it changes of `darts`."""

    name: str
    family: str
    paper: str
    summary: str
    differs: tuple[str, ...]
    passes: Passes

    def data(self) -> dict[str, object]:
        """As JSON."""
        counted = {"forward": self.passes.forward, "backward": self.passes.backward}
        return {**vars(self), "differs": list(self.differs), "passes": counted}


def listed(method: Method | Walk) -> Listed:
    """A method with what it changes of `darts` and the passes of a step; a walk has no supernet."""
    if isinstance(method, Walk):
        about = method.describe()
        parts = ("candidates", "proposal", "score")
        changes = ("no gradients: a walk", *(f"{name}: {about[name]}" for name in parts))
        counted = Passes(0.0, 0.0)
    else:
        changes = tuple(map(str, differences(darts, method)))
        counted = passes(method)
    return Listed(
        method.name, methods.family(method.name), method.paper, method.summary, changes, counted
    )


def table(rows: list[Listed]) -> str:
    """A line for each method under its family: name, passes, paper, what it changes of `darts`."""
    name, paper = (max(len(getattr(row, key)) for row in rows) for key in ("name", "paper"))
    paper = min(paper, 32)
    lines = [f"{'method':{name}}  {'passes':7}  {'paper':{paper}}  changes of darts"]
    family = ""
    for row in rows:
        if row.family != family:
            family = row.family
            lines += ["", f"# {family}"]
        fields = dict.fromkeys(text.partition(":")[0].split(".")[-1] for text in row.differs)
        short = row.paper if len(row.paper) <= paper else row.paper[: paper - 1] + "…"
        changed = ", ".join(fields) or "-"
        lines.append(f"{row.name:{name}}  {row.passes!s:7}  {short:{paper}}  {changed}")
    return "\n".join(
        [*lines, "", "passes: forward+backward through the supernet per training batch, counted"]
    )


def card(row: Listed) -> str:
    """Everything about one method."""
    changes = "\n".join(row.differs) or "no difference"
    return (
        f"{row.name}\n{row.summary}\n{row.paper}\n{row.family}\n"
        f"passes per batch (forward+backward): {row.passes}\n\nchanges of darts:\n{changes}"
    )
