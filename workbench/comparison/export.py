"""Tables as text: Markdown, and LaTeX with the rules of the package booktabs."""

from __future__ import annotations

from itertools import groupby

import pandas as pd

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "–": "--", "→": r"$\to$", "·": r"$\cdot$", "×": r"$\times$", "α": r"$\alpha$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip

_MARKDOWN = {
    "\\": r"\\", "&": "&amp;", "<": "&lt;", ">": "&gt;", "|": r"\|", "[": r"\[", "`": r"\`",
}  # fmt: skip


def markdown(frame: pd.DataFrame) -> str:
    """A table as Markdown, its values as they print; headings of several levels are joined."""
    head = [" ".join(part for part in heading if part) for heading in _headings(frame)]
    rows = [[str(value) for value in row] for row in frame.itertuples(index=False)]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def to_latex(frame: pd.DataFrame, *, note: str = "") -> str:
    r"""A table as LaTeX, for `\usepackage{booktabs}`.

    Args:
        frame: The table; headings of several levels span their columns, an inner one only those
            under one outer heading.
        note: A text below it.

    Returns:
        A `tabular`, texts left and numbers right as in the frame, every special character escaped;
        the note after it as a paragraph.
    """
    headings = _headings(frame)
    levels = len(headings[0]) if headings else 0
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}", r"\toprule"]
    for level in range(levels):
        parts = groupby(heading[: level + 1] for heading in headings)
        spans = [(outer[level], len(list(part))) for outer, part in parts]
        if level == levels - 1:
            spans = [(heading[level], 1) for heading in headings]
        lines.append(" & ".join(_spanning(text, width) for text, width in spans) + r" \\")
        lines += _rules(spans)
    lines.append(r"\midrule")
    for row in frame.itertuples(index=False):
        lines.append(" & ".join(_escaped(str(value)) for value in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, "", _escaped(note)] if note else lines) + "\n"


def _headings(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """The texts over every column, outermost first."""
    return [
        tuple(map(str, name)) if isinstance(name, tuple) else (str(name),) for name in frame.columns
    ]


def _cell(text: str) -> str:
    """Text that stays text: neither HTML nor a link, and on one line."""
    for letter, written in _MARKDOWN.items():
        text = text.replace(letter, written)
    return " ".join(text.split())


def _spanning(text: str, width: int) -> str:
    return _escaped(text) if width == 1 else rf"\multicolumn{{{width}}}{{c}}{{{_escaped(text)}}}"


def _rules(spans: list[tuple[str, int]]) -> list[str]:
    """A rule under every heading that spans columns."""
    ends, rules = 0, []
    for text, width in spans:
        if text and width > 1:
            rules.append(rf"\cmidrule(lr){{{ends + 1}-{ends + width}}}")
        ends += width
    return [" ".join(rules)] if rules else []


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))
