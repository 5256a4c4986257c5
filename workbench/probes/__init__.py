"""Probes: measurements of a running search that leave no trace in it.

One may be handed to `search(probes=…)`, which asks after every step (`Every` and `EveryEpoch` let
it wait for its turn), or stand in a stage's `measures`, which are taken after every epoch and told
to its rules.  What they measure is recorded beside alpha.
"""

from collections.abc import Mapping

from workbench.probes.gap import DiscretisationGap, masked
from workbench.probes.hessian import HessianEigenvalue, largest_eigenvalue
from workbench.probes.norms import AlphaGradients, WeightNorms
from workbench.probes.outputs import OpOutputs
from workbench.probes.turns import Every, EveryEpoch
from workbench.protocols import Probe
from workbench.spaces.watching import SeenEdge, watching

__all__ = [
    "AlphaGradients",
    "DiscretisationGap",
    "Every",
    "EveryEpoch",
    "HessianEigenvalue",
    "OpOutputs",
    "SeenEdge",
    "WeightNorms",
    "chosen",
    "largest_eigenvalue",
    "masked",
    "named",
    "watching",
]


def named() -> Mapping[str, Probe]:
    """The probes that settings can name, as they are by default."""
    return {
        "alpha_gradients": AlphaGradients(),
        "op_outputs": OpOutputs(),
        "weight_norms": WeightNorms(),
        "discretisation_gap": DiscretisationGap(),
        "hessian_eigenvalue": HessianEigenvalue(),
    }


def chosen(names: str, every: int | None = None) -> tuple[Probe, ...]:
    """The probes that `names` lists, with commas between them.

    Args:
        every: measured every so many steps; None is at the end of every epoch.

    Raises:
        ValueError: if there is no such probe.
    """
    table, picked = named(), [name.strip() for name in names.split(",")]
    for name in picked:
        if name not in table:
            raise ValueError(f"there is no probe {name!r}; choose among {', '.join(table)}")
    return tuple(
        EveryEpoch(table[name]) if every is None else Every(every, table[name])
        for name in dict.fromkeys(picked)
    )
