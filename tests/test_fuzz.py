"""A small number of hostile inputs of every kind; `python -m tests.fuzz 10000` is the long form."""

from __future__ import annotations

import pytest

from tests.fuzz import KINDS, _run_kind


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_a_refusal_in_one_line_comes_of_hostile_input(kind: str) -> None:
    assert _run_kind(kind, 25, 0).cases >= 20
