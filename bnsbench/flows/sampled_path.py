"""Any Gaussian path by its coefficients at many times, so that paths given as functions can be written and read again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.cubics import root_in_unit
from bnsbench.flows.paths import VP, CondOT, Cosine, Path, as_time, is_readable, make_path

Coefficient = Callable[[Tensor], Tensor]
"""From times in float64, of any shape, to a coefficient of the path at each."""

NODES = 193
"""Times at which a path is sampled: between them, values are exact to about 1e-7, also where a root ends."""
STEEPEST = 1e12
"""Stands for an infinite derivative."""
SAME = 1e-7
"""Difference of coefficients below which a path is taken for one that has a name."""
FEWEST = 5


class Sampled(Path):
    """A path by its coefficients and their derivatives at n times, with cubic Hermite interpolation between them.

    The times are t_i = c(c(i / (n - 1))) with c(s) = (1 - cos(pi s)) / 2, very close to each other at both ends, where paths
    may begin and end like roots.

    Args:
        alpha: The data's coefficients [n].
        sigma: The noise's coefficients [n].
        d_alpha: Derivatives d alpha / dt [n].
        d_sigma: Derivatives d sigma / dt [n].

    Raises:
        UsageError: If these are not n numbers each, not finite, or their log-SNR does not increase from t = 0 to 1.
    """

    name = "sampled"

    def __init__(
        self, alpha: Sequence[float], sigma: Sequence[float], d_alpha: Sequence[float], d_sigma: Sequence[float]
    ) -> None:
        try:
            values = torch.tensor([list(each) for each in (alpha, sigma, d_alpha, d_sigma)], dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError("A sampled path takes as many numbers for alpha, sigma and their derivatives.") from error
        if values.ndim != 2 or values.shape[1] < FEWEST or not bool(values.isfinite().all()):
            raise UsageError(f"A sampled path takes at least {FEWEST} finite numbers for each of its coefficients.")
        if not bool((values[:2] >= 0).all()) or not bool((values[0] + values[1] > 0).all()):
            raise UsageError("The coefficients alpha and sigma of a path are at least 0, and never 0 together.")
        share = values[0] / (values[0] + values[1])
        if not bool((share.diff() > 0).all()):
            raise UsageError(
                "The signal of a path grows from noise at t = 0 to data at t = 1, and alpha / sigma does not: does its time"
                " run the other way?"
            )
        self._values, self._times = values, nodes(values.shape[1])
        self._log_snr = self.log_snr(self._times)

    @classmethod
    def of(cls, alpha: Coefficient, sigma: Coefficient) -> Sampled:
        """Return the path of two functions of time; their derivatives come from autograd, or from differences."""
        times = nodes(NODES)
        found = [_with_derivative(function, times) for function in (alpha, sigma)]
        (a, d_a), (s, d_s) = found
        return cls(a.tolist(), s.tolist(), d_a.tolist(), d_s.tolist())

    def _at(self, row: int, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """Return a coefficient, row 0 or 1, and its derivative at times."""
        t = as_time(t)
        times, values = self._times.to(t.device), self._values.to(t.device)
        index = torch.searchsorted(times, t.detach().contiguous(), right=True).sub(1).clamp(0, len(times) - 2)
        width = times[index + 1] - times[index]
        u = (t - times[index]) / width
        d, c, m0, y0 = _hermite(values, row, index, width)
        return ((d * u + c) * u + m0) * u + y0, ((3 * d * u + 2 * c) * u + m0) / width

    def alpha(self, t: Tensor | float) -> Tensor:
        return self._at(0, t)[0]

    def sigma(self, t: Tensor | float) -> Tensor:
        return self._at(1, t)[0]

    def d_alpha(self, t: Tensor | float) -> Tensor:
        return self._at(0, t)[1]

    def d_sigma(self, t: Tensor | float) -> Tensor:
        return self._at(1, t)[1]

    def time(self, log_snr: Tensor | float) -> Tensor:
        target = as_time(log_snr).detach()
        times, values, levels = (each.to(target.device) for each in (self._times, self._values, self._log_snr))
        index = torch.searchsorted(levels, target.contiguous(), right=True).sub(1).clamp(0, len(times) - 2)
        width = times[index + 1] - times[index]
        # alpha = e^lambda sigma, both sides times numbers that are finite for any lambda: a cubic between two nodes.
        noise, data = torch.sigmoid(-target), torch.sigmoid(target)
        cubic = noise * _hermite(values, 0, index, width) - data * _hermite(values, 1, index, width)
        inside = times[index] + width * root_in_unit(cubic)
        return torch.where(target <= levels[0], 0.0, torch.where(target >= levels[-1], 1.0, inside))

    def parameters(self) -> dict[str, Any]:
        rows = self._values.tolist()
        return dict(zip(("alpha", "sigma", "d_alpha", "d_sigma"), rows, strict=True))

    def __repr__(self) -> str:
        return f"Sampled(<{self._values.shape[1]} times>)"


def _hermite(values: Tensor, row: int, index: Tensor, width: Tensor) -> Tensor:
    """Return the cubic between two nodes [4, ...] with their values and slopes, the powers of u from 3 to 0."""
    y0, y1 = values[row][index], values[row][index + 1]
    m0, m1 = values[row + 2][index] * width, values[row + 2][index + 1] * width
    return torch.stack([2 * (y0 - y1) + m0 + m1, 3 * (y1 - y0) - 2 * m0 - m1, m0, y0])


def nodes(count: int) -> Tensor:
    """Return the times [count] at which a path is sampled."""
    times = torch.linspace(0, 1, count, dtype=torch.float64)
    for _ in range(2):
        times = (1 - torch.cos(math.pi * times)) / 2
    return times


def as_path(given: Any) -> Path:
    """Return the path that a user means, one that a solver's file can name.

    Args:
        given: A name such as "vp", a path, the functions (alpha, sigma) of time, or a scheduler of flow_matching, which
            returns alpha_t and sigma_t for times.

    Raises:
        UsageError: If it is none of these, or no path from noise at t = 0 to data at t = 1.
    """
    if isinstance(given, str):
        return make_path(given)
    if isinstance(given, Path):
        return given if is_readable(given) else Sampled.of(given.alpha, given.sigma)
    if isinstance(given, tuple) and len(given) == 2 and all(map(callable, given)):
        return _named(Sampled.of(*given))
    if callable(given):
        return _named(Sampled.of(lambda t: given(t).alpha_t, lambda t: given(t).sigma_t))
    raise UsageError(
        "A path is a name such as 'condot', one of bnsbench.paths, two functions (alpha, sigma) of time, or a scheduler that"
        f" returns alpha_t and sigma_t, not {type(given).__name__}."
    )


def _named(path: Sampled) -> Path:
    """Return the path of the same coefficients that has a name, if there is one."""
    times = nodes(NODES)[1:-1]
    for known in (CondOT(), Cosine(), VP()):
        gaps = [(path.alpha(times) - known.alpha(times)).abs().max(), (path.sigma(times) - known.sigma(times)).abs().max()]
        if float(max(gaps)) < SAME:
            return known
    return path


def _with_derivative(function: Coefficient, times: Tensor) -> tuple[Tensor, Tensor]:
    """Return a function's values at times and its derivatives there."""
    at = times.clone().requires_grad_()
    with torch.enable_grad():
        found = _values(function, at)
        if found.requires_grad:
            (slope,) = torch.autograd.grad(found.sum(), at)
        else:
            slope = _difference(function, times)
    return found.detach(), slope.nan_to_num(0.0, STEEPEST, -STEEPEST).clamp(-STEEPEST, STEEPEST)


def _values(function: Coefficient, times: Tensor) -> Tensor:
    """Return a function's values [n] in float64; UsageError if it gives none."""
    try:
        found = torch.as_tensor(function(times), dtype=torch.float64).expand(times.shape)
    except UsageError:
        raise
    except Exception as error:  # whatever a function of a user raises
        raise UsageError(
            f"A path's coefficients are functions of a tensor of times, and one raised {type(error).__name__}: {error}."
        ) from error
    return found


def _difference(function: Coefficient, times: Tensor) -> Tensor:
    """Return central differences, one-sided at the ends."""
    low, high = (times - 1e-6).clamp_min(0), (times + 1e-6).clamp_max(1)
    return (_values(function, high) - _values(function, low)) / (high - low)
