"""The Gaussian paths x_t = sigma_t x_0 + alpha_t x_1 on which models are trained, from noise at t = 0 to data at t = 1.

`CondOT` (flow matching, rectified flow), `Cosine`, `VP` (a linear noise rate), `DiscreteVP` (a DDPM schedule), `EDM` and
`VE` (variance-exploding); `Preconditioned` multiplies the noise of another path. `as_path` makes a path of two functions
(alpha, sigma) of time, of a scheduler of flow_matching, or of one's own subclass of `Path`: a `Sampled` one, which solvers'
files can hold. ``path.to_dict()`` is for files, and `path_from_dict` reads it.
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
from bnsbench.flows.sampled_path import Sampled, as_path

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
    "Sampled",
    "VariancePreserving",
    "as_path",
    "path_from_dict",
]
