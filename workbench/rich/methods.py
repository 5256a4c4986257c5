"""Methods, stages, walks and differences as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from workbench.method import Differences, Method, Stage, part_text
from workbench.rich.html import Html, code, facts, folded, heading, join, paragraph, table
from workbench.walk import Walk

_MARK = Html('<span title="differs from darts" aria-label="differs from darts">●</span>')


def method(value: Method) -> Html:
    """Name, paper, summary; of every stage the slots, those that differ from DARTS first."""
    count = len(value.stages)
    pieces: list[str] = [
        heading(value.name, value.paper, f"{count} stages" if count > 1 else None),
        paragraph(value.summary),
    ]
    for index, part in enumerate(value.stages):
        if count > 1:
            pieces.append(heading(f"{index + 1}. {part.name}"))
        derivation = ("derivation", part_text(value.derivation), _published())
        pieces.append(_slots(part, [derivation] if index == count - 1 else []))
    return join(*pieces)


def stage(value: Stage) -> Html:
    """The slots of a stage, those that differ from DARTS first."""
    epochs = f"{value.epochs} epoch" + "s" * (value.epochs != 1)
    return join(heading(f"stage {value.name}", epochs), _slots(value, []))


def differences(value: Differences) -> Html:
    """What one method changes of another."""
    if not value:
        return paragraph("no difference")
    rows = [(d.field.strip(), code(d.before), code(d.after)) for d in value]
    return table(rows, head=("slot", "before", "after"))


def walk(value: Walk) -> Html:
    """A search without gradients: its parts."""
    about = {
        name: code(str(part))
        for name, part in value.describe().items()
        if name not in ("name", "paper", "summary")
    }
    title = heading(value.name, value.paper, "a walk: no gradients")
    return join(title, paragraph(value.summary), facts(about))


def _slots(part: Stage, more: Sequence[tuple[str, str, str]]) -> Html:
    """The slots of a stage, and of its method `more`: name, text, DARTS's text."""
    darts = Stage()
    names = [f.name for f in fields(Stage) if f.name != "name"]
    rows = [(n, part_text(getattr(part, n)), part_text(getattr(darts, n))) for n in names]
    rows += more
    changed = [
        (Html(f"{_MARK} {name}"), Html(f"<strong>{code(mine)}</strong>"), code(theirs))
        for name, mine, theirs in rows
        if mine != theirs
    ]
    same = [(name, code(mine)) for name, mine, theirs in rows if mine == theirs]
    if not changed:
        return Html(paragraph("every slot as in darts") + table(same, head=("slot", "part")))
    top = table(changed, head=("slot", "part", "in darts"))
    return Html(top + folded(f"{len(same)} slots as in darts", table(same)))


def _published() -> str:
    return part_text(Method("darts", "", "").derivation)
