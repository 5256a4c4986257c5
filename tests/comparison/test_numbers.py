from __future__ import annotations

import pytest

from workbench.comparison.numbers import counted, significant


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [
        (120.0, 2, "120"), (99.6, 2, "100"), (12.3, 2, "12"), (0.123, 2, "0.12"),
        (1234.0, 3, "1,234"), (999.6, 3, "1,000"), (999.4, 3, "999"), (0.0, 3, "0"),
    ],
)  # fmt: skip
def test_a_large_number_is_no_power_of_ten(value: float, digits: int, said: str) -> None:
    assert significant(value, digits) == said


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 epochs"), (1, "1 epoch"), (2000, "2,000 epochs")]
)
def test_one_is_no_plural(count: int, said: str) -> None:
    assert counted(count, "epoch") == said
