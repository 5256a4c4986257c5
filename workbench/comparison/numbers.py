"""Numbers as people read them."""

from __future__ import annotations


def significant(value: float, digits: int) -> str:
    """A number to so many significant digits, a larger one to the unit: 1.23, 120, 1,234.

    Never as a power of ten, unless it is less than 0.0001.
    """
    if abs(value) >= 10**digits - 0.5:  # what would be rounded to more digits than that
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def counted(count: int, word: str) -> str:
    """`1 epoch`, `2,000 steps`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
