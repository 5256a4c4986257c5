"""Every training-free score by name.

Names here are what the command line takes: `getattr(proxies, "naswot")`.
"""

from __future__ import annotations

from dataclasses import is_dataclass

from workbench.protocols import Proxy
from workbench.zero_cost.activation_scores import JacobCov, LinearRegions, Naswot
from workbench.zero_cost.kernel_scores import (
    BnTerm,
    ConditionNumber,
    KernelScore,
    LabelGradientAlignment,
    ZenPaperA,
)
from workbench.zero_cost.pruning_scores import (
    Fisher,
    GradNorm,
    Grasp,
    L2Norm,
    Plain,
    Snip,
    Synflow,
)
from workbench.zero_cost.sizes import Macs, Parameters
from workbench.zero_cost.zen_nas import ZenNas

parameters = Parameters()
macs = Macs()

ntk_fro = KernelScore("fro")
ntk_trace = KernelScore("trace")
mgm = KernelScore("mean")
ntk_cond = ConditionNumber()
ntk_lmin = KernelScore("lmin")
ntk_fro_per_trace = KernelScore("fro_per_trace")
lga = LabelGradientAlignment()

zen = ZenPaperA()
zen_nas = ZenNas()
bn = BnTerm()

grad_norm = GradNorm()
plain = Plain()
snip = Snip()
grasp = Grasp()
fisher = Fisher()
synflow = Synflow()
l2_norm = L2Norm()

jacob_cov = JacobCov()
naswot = Naswot()
linear_regions = LinearRegions()


def named() -> dict[str, Proxy]:
    """Every score by name, in the order they stand here."""
    return {
        name: value
        for name, value in globals().items()
        if is_dataclass(value) and not isinstance(value, type) and not name.startswith("_")
    }  # pyright: ignore[reportReturnType]
