"""The Gaussian paths x_t = sigma_t x_0 + alpha_t x_1 on which models are trained, from noise at t = 0 to data at t = 1.

`CondOT` (flow matching, rectified flow), `Cosine`, `VP` (a linear noise rate), `DiscreteVP` (a DDPM schedule), `EDM` and
`VE` (variance-exploding); `Preconditioned` multiplies the noise of another path. A path of one's own is a subclass of
`Path`, or of `VariancePreserving` if alpha^2 + sigma^2 = 1. ``path.to_dict()`` is for files, and `path_from_dict` reads it.
"""

from bnsbench.flows.paths import (
    EDM,
    LOG_SNR_BOUND,
    VE,
    VP,
    CondOT,
    Cosine,
    DiscreteVP,
    Path,
    Preconditioned,
    VariancePreserving,
    path_from_dict,
)

__all__ = [
    "EDM",
    "LOG_SNR_BOUND",
    "VE",
    "VP",
    "CondOT",
    "Cosine",
    "DiscreteVP",
    "Path",
    "Preconditioned",
    "VariancePreserving",
    "path_from_dict",
]
