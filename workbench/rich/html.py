"""Pieces of HTML that a light and a dark page show alike: no colour of text is set."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

LINE = "rgba(128,128,128,.4)"
_CELL = "text-align:left;vertical-align:top;overflow-wrap:anywhere"


class Html(str):
    """Text that is HTML already; any other text is escaped."""


def escaped(text: object) -> Html:
    """Text as HTML, unless it is HTML already."""
    return text if isinstance(text, Html) else Html(html.escape(str(text)))


def join(*pieces: str) -> Html:
    """Pieces one after the other, in a block."""
    return Html("<div>" + "".join(map(escaped, pieces)) + "</div>")


def heading(title: str, *words: str | None) -> Html:
    """A title, and beside it what is known."""
    rest = " · ".join(escaped(word) for word in words if word)
    return Html(
        f'<div style="margin:4px 0"><strong style="font-size:1.15em">{escaped(title)}</strong>'
        f'<span style="opacity:.75"> {" · " + rest if rest else ""}</span></div>'
    )


def paragraph(text: str) -> Html:
    """A line of text."""
    return Html(f'<div style="margin:4px 0">{escaped(text)}</div>')


def code(text: str) -> Html:
    """Text as it is typed; it wraps."""
    return Html(
        f'<code style="white-space:pre-wrap;overflow-wrap:anywhere;background:none;color:inherit">'
        f"{escaped(text)}</code>"
    )


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> Html:
    """A table; the first cell of a row names it."""
    top = "".join(
        f'<th scope="col" style="{_CELL};white-space:nowrap">{escaped(name)}</th>' for name in head
    )
    body = "".join(
        "<tr>"
        f'<th scope="row" style="{_CELL};white-space:nowrap;font-weight:600">{escaped(row[0])}</th>'
        + "".join(f'<td style="{_CELL}">{escaped(cell)}</td>' for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    first = f"<thead><tr>{top}</tr></thead>" if top else ""
    return Html(f'<table style="margin:4px 0">{first}<tbody>{body}</tbody></table>')


def facts(values: Mapping[str, object]) -> Html:
    """A table of names and values."""
    return table(list(values.items()))


def folded(title: str, inside: str, *, opened: bool = False) -> Html:
    """Something that opens and closes at a click."""
    return Html(
        f'<details{" open" * opened} style="margin:4px 0">'
        f'<summary style="cursor:pointer">{escaped(title)}</summary>'
        f"{escaped(inside)}</details>"
    )


def bar(done: int, planned: int) -> Html:
    """How much of something is done."""
    share = min(done / planned, 1.0) if planned else 0.0
    return Html(
        f'<div role="progressbar" aria-valuenow="{done}" aria-valuemin="0" '
        f'aria-valuemax="{planned}" style="max-width:420px;height:8px;border-radius:4px;'
        f'overflow:hidden;background:rgba(128,128,128,.25);margin:4px 0">'
        f'<div style="width:{100 * share:.1f}%;height:100%;background:#3796D6"></div></div>'
    )


def picture(svg: str | None, *, width: int | None = None) -> Html:
    """An SVG that shrinks to fit; nothing where none could be drawn."""
    most = f"max-width:{width}px;" if width else ""
    return Html(f'<div style="{most}overflow:auto">{svg}</div>' if svg else "")
