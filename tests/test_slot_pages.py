"""The pages of `docs/slots` quote the code as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "slots").glob("*.md"))
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for room in ("workbench", "tests")
    for path in sorted((ROOT / room).rglob("*.py"))
)


def quoted(page: Path) -> list[str]:
    """Blocks that define something, or a method."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [block for block in blocks if re.match(r"(class |def |@|\w+ = \w+\.but\()", block)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_quotes_stands_in_the_code(page: Path) -> None:
    blocks = quoted(page)
    assert len(blocks) >= 3
    assert not [block.splitlines()[0] for block in blocks if block not in CODE]


def test_there_are_pages() -> None:
    assert PAGES
