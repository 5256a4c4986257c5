"""What a reader keeps of arrays that grow."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.trace.grown import Grown


def rows(first: int, last: int) -> np.ndarray:
    return np.arange(first, last, dtype="f4")[:, None] * [1, 2]


def test_an_array_goes_on_and_shares_what_was_there() -> None:
    before = Grown(rows(0, 5)).then(5, rows(5, 6))
    after = before.then(4, rows(4, 9))
    assert np.array_equal(after.values, rows(0, 9))
    assert np.array_equal(before.values, rows(0, 6))
    assert np.shares_memory(after.values, before.values)


def test_what_has_changed_since_is_not_seen_by_who_looked_before() -> None:
    looked = Grown(rows(0, 5)).then(5, rows(5, 6))
    filled = rows(5, 8)
    filled[0] = np.nan
    again = looked.then(5, filled)
    assert np.array_equal(looked.values, rows(0, 6))
    assert np.array_equal(again.values, np.concatenate([rows(0, 5), filled]), equal_nan=True)


def test_two_who_go_on_from_one_do_not_disturb_each_other() -> None:
    base = Grown(rows(0, 4)).then(4, rows(4, 5))
    first = base.then(5, rows(5, 7))
    second = base.then(5, -rows(5, 8))  # the search went back meanwhile
    shorter = base.then(2, rows(2, 3))
    assert np.array_equal(first.values, rows(0, 7))
    assert np.array_equal(second.values, np.concatenate([rows(0, 5), -rows(5, 8)]))
    assert np.array_equal(shorter.values, rows(0, 3))
    assert np.array_equal(base.values, rows(0, 5))
    assert np.array_equal(shorter.then(3, rows(3, 6)).values, rows(0, 6))
    assert np.array_equal(first.values, rows(0, 7))


def test_nans_are_nothing_new() -> None:
    values = np.full((3, 2), np.nan, "f4")
    before = Grown(values[:1]).then(1, values[1:2])
    assert np.shares_memory(before.then(1, values[:2]).values, before.values)


def test_values_are_not_to_be_written_into() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Grown(rows(0, 2)).values[0] = 1
