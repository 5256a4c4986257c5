"""The family of separable convolutions, of which the published ones are members, and its morphisms.

A name says everything: `sep_conv_KxK[_d2][_xN][_wA_B…]` has kernel K (1, 3, 5 or 7), dilation 2 if
it says so, N stacked convolutions (2 if it does not say), and inner channels A, B, … times the
operation's own (once if it does not say).  `dil_conv_KxK` is a single one of dilation 2.  So
`sep_conv_3x3` and `dil_conv_5x5` are what they were, `sep_conv_3x3_x1` is a single convolution, and
`sep_conv_5x5_w2` widens between its two.  Every operation has one name.

Facts from the released code of PR-DARTS (Laube and Zell, Prune and Replace NAS, arXiv:1906.07528).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from workbench.spaces.genotype import GenotypeError

KERNELS = (1, 3, 5, 7)
DILATIONS = (1, 2)
MOST = 9  # stacked convolutions, and times an inner width: one digit in a name

_NAME = re.compile(
    r"(?P<form>sep|dil)_conv_(?P<kernel>\d+)x(?P<across>\d+)(?:_d(?P<dilation>\d+))?"
    r"(?:_x(?P<stacked>\d+))?(?:_w(?P<widths>\d+(?:_\d+)*))?"
)


@dataclass(frozen=True)
class Separable:
    """Stacked units of ReLU, depthwise and pointwise convolution and batch norm; the first strides.

    Args:
        kernel: side of every depthwise kernel.
        dilation: of every depthwise convolution.
        widths: channels between the units, in multiples of the operation's own: one number fewer
            than there are units.

    Raises:
        GenotypeError: if there is no such operation.
    """

    kernel: int
    dilation: int = 1
    widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise GenotypeError(f"a kernel's side is 1, 3, 5 or 7, not {self.kernel}")
        if self.dilation not in DILATIONS:
            raise GenotypeError(f"a dilation is 1 or 2, not {self.dilation}")
        if self.kernel == 1 and self.dilation > 1:
            raise GenotypeError("a kernel of side 1 has nothing to dilate")
        if len(self.widths) >= MOST:
            raise GenotypeError(f"1 to {MOST} convolutions can be stacked, not {self.stacked}")
        if not all(1 <= width <= MOST for width in self.widths):
            raise GenotypeError(f"inner widths are 1 to {MOST} times the channels: {self.widths}")

    @property
    def stacked(self) -> int:
        """How many convolutions."""
        return len(self.widths) + 1

    @property
    def name(self) -> str:
        """The operation's one name."""
        size = f"conv_{self.kernel}x{self.kernel}"
        if not self.widths and self.dilation == 2:
            return f"dil_{size}"
        dilated = "_d2" if self.dilation == 2 else ""
        stacked = "" if self.stacked == 2 else f"_x{self.stacked}"
        wide = any(width > 1 for width in self.widths)
        widths = f"_w{'_'.join(map(str, self.widths))}" if wide else ""
        return f"sep_{size}{dilated}{stacked}{widths}"

    def morphs(self, limits: Limits) -> Mapping[str, Separable]:
        """What one morphism makes of it within `limits`, by the morphism's name.

        "widen" is of the (first) narrowest inner channels; "insert" adds a convolution at the end.
        """
        k, found = self.kernel, {}
        if k + 2 <= limits.largest:
            found["grow"] = replace(self, kernel=k + 2)
        if k - 2 >= limits.smallest and not (k == 3 and self.dilation > 1):
            found["shrink"] = replace(self, kernel=k - 2)
        if k > 1 and self.dilation < limits.dilation:
            found["dilate"] = replace(self, dilation=self.dilation + 1)
        if self.dilation > 1:
            found["contract"] = replace(self, dilation=self.dilation - 1)
        room = sum(self.widths) < limits.total
        if room and len(self.widths) < limits.inserted:
            found["insert"] = replace(self, widths=(*self.widths, 1))
        if room and self.widths and min(self.widths) < limits.widest:
            at = self.widths.index(min(self.widths))
            wider = (*self.widths[:at], self.widths[at] + 1, *self.widths[at + 1 :])
            found["widen"] = replace(self, widths=wider)
        return found


@dataclass(frozen=True)
class Limits:
    """How far morphisms go.

    Args:
        smallest, largest: side of a kernel.
        dilation: at most.
        inserted: convolutions beside the first, at most.
        widest: inner channels, at most, in multiples of the operation's own.
        total: sum of those multiples, at most.
    """

    smallest: int = 1
    largest: int = 7
    dilation: int = 2
    inserted: int = MOST - 1
    widest: int = MOST
    total: int = MOST * (MOST - 1)

    def __post_init__(self) -> None:
        if not {self.smallest, self.largest} <= set(KERNELS) or self.smallest > self.largest:
            raise ValueError(
                f"`Limits(smallest={self.smallest}, largest={self.largest})` needs kernels of "
                "1, 3, 5 or 7, the smallest first"
            )
        bounds = {"dilation": (1, 2), "inserted": (0, MOST - 1), "widest": (1, MOST)}
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                value = getattr(self, name)
                raise ValueError(f"`Limits({name}={value})` must be {low} to {high}")
        if self.total < 0:
            raise ValueError(f"`Limits(total={self.total})` must be 0 or more")


def separable(name: str) -> Separable | None:
    """The member of the family that `name` names; None if it is another operation's.

    Raises:
        GenotypeError: if it reads like one of the family and is none, or not in its one spelling.
    """
    if not name.startswith(("sep_conv", "dil_conv")):
        return None
    match = _NAME.fullmatch(name)
    if match is None:
        raise GenotypeError(
            f"{name!r} is no separable convolution; one is written sep_conv_3x3, dil_conv_5x5, "
            "sep_conv_3x3_x1 (a single one), sep_conv_5x5_d2_x3_w2_1 (dilation, how many, widths)"
        )
    if match["kernel"] != match["across"]:
        raise GenotypeError(f"{name!r}: a separable convolution has a square kernel")
    try:
        found = _read(match)
    except GenotypeError as error:
        raise GenotypeError(f"{name!r}: {error}") from error
    if found.name != name:
        raise GenotypeError(f"{name!r} is written {found.name!r}: every operation has one name")
    return found


def _read(match: re.Match[str]) -> Separable:
    """Widths that are not written out are 1; of a text that contradicts itself, a clear error."""
    single = match["form"] == "dil"
    dilation = int(match["dilation"] or (2 if single else 1))
    inner = [int(width) for width in match["widths"].split("_")] if match["widths"] else None
    stacked = int(match["stacked"] or (1 if single else 2))
    if not 1 <= stacked <= MOST:
        raise GenotypeError(f"1 to {MOST} convolutions can be stacked, not {stacked}")
    if inner is not None and len(inner) != stacked - 1:
        raise GenotypeError(
            f"{stacked} convolutions have {stacked - 1} inner widths, not {len(inner)}"
        )
    return Separable(int(match["kernel"]), dilation, tuple(inner or (1,) * (stacked - 1)))
