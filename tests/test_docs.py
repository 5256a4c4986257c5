"""Pages about slots quote code: what they quote is in the tree, word for word."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(p for p in (ROOT / "docs" / "slots").glob("*.md") if p.stem != "README")
SOURCES = [
    path.read_text(encoding="utf-8")
    for room in ("workbench", "tests", "benchmarks")
    for path in sorted((ROOT / room).rglob("*.py"))
]
PROTOCOLS = (ROOT / "workbench" / "protocols.py").read_text(encoding="utf-8")
# Contracts that are no slot: what parts are given, or what builds and names the others.
NO_SLOT = {"SupernetLike", "BoundNet", "Bilevel", "MixedEdge"}


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_quoted_code_is_in_the_tree_word_for_word(page: Path) -> None:
    quoted = blocks(page)
    assert len(quoted) >= 3, "a signature, a part and its test"
    for block in quoted:
        text = block.strip("\n")
        found = any(text in source or indented(text) in source for source in SOURCES)
        assert found, f"{page.name} quotes what is not there:\n{text}"


def indented(text: str) -> str:
    return textwrap.indent(text, "    ").rstrip()


def test_every_slot_has_a_page_that_quotes_its_signature() -> None:
    slots = {
        node.name for node in ast.parse(PROTOCOLS).body if isinstance(node, ast.ClassDef)
    } - NO_SLOT
    told = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = {slot for slot in slots if f"class {slot}(" not in told}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_asks_a_question_and_is_in_the_list(page: Path) -> None:
    assert re.match(r"# How do I [^\n]+\?\n", page.read_text(encoding="utf-8"))
    assert f"({page.name})" in (page.parent / "README.md").read_text(encoding="utf-8")
