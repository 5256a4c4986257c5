"""What a method is, and what it changes of DARTS, as HTML."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from workbench.method import Difference, Method, differences

if TYPE_CHECKING:
    from workbench.walk import Walk


def about_method(method: Method | Walk) -> str:
    """Summary, paper and a table of what differs from `darts`."""
    rows = differing(method)
    head = (
        f"<p><b>{escape(method.name)}</b>: {escape(method.summary)}<br>{_paper(method.paper)}</p>"
    )
    if not rows:
        return f"{head}<p>No difference from darts.</p>"
    cells = "".join(
        f'<tr><th scope="row">{escape(row.field)}</th><td>{_code(row.before)}</td>'
        f"<td>{_code(row.after)}</td></tr>"
        for row in rows
    )
    return (
        f'{head}<table><thead><tr><th scope="col">differs from darts in</th>'
        f'<th scope="col">darts</th><th scope="col">here</th></tr></thead>'
        f"<tbody>{cells}</tbody></table>"
    )


def differing(method: Method | Walk) -> list[Difference]:
    """What `method` changes of `darts`; of a walk, which has no alphas, what it is made of."""
    from workbench.listing import listed
    from workbench.methods.bilevel import darts

    if isinstance(method, Method):
        return list(differences(darts, method))
    texts = (text.partition(": ") for text in listed(method).differs)
    return [Difference(name, "(none)", what) for name, _, what in texts]


def _code(text: str) -> str:
    """A part's text, which may be broken after a bracket, comma or equals sign."""
    return re.sub(r"([(,=.])", r"\1<wbr>", escape(text, quote=False))


def _paper(paper: str) -> str:
    """A paper, with a link if it has an arXiv id or a DOI."""
    text = escape(paper)
    kind, _, name = paper.partition(":")
    homes = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}
    if kind not in homes or " " in name:
        return text
    link = escape(homes[kind] + name, quote=True)
    return f'<a href="{link}" target="_blank" rel="noopener">{text}</a>'
