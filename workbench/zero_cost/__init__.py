"""Scores that need no training; every one by name is in `workbench.zero_cost.proxies`."""

from workbench.zero_cost.batch_norm import batch_norm_variances, bn_term
from workbench.zero_cost.kernels import (
    SCALARS,
    KernelScalar,
    gradients,
    log_ntk,
    network_log_ntk,
    ntk,
)
from workbench.zero_cost.scratch import ProxyError
from workbench.zero_cost.zen import (
    ZenInit,
    ZenObjective,
    ZenScore,
    supernet_zen_score,
    zen_score,
)

__all__ = [
    "SCALARS",
    "KernelScalar",
    "ProxyError",
    "ZenInit",
    "ZenObjective",
    "ZenScore",
    "batch_norm_variances",
    "bn_term",
    "gradients",
    "log_ntk",
    "network_log_ntk",
    "ntk",
    "supernet_zen_score",
    "zen_score",
]
