"""Time grids: where a solver's steps begin and end."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.paths import LOG_SNR_BOUND, Path

Interval = tuple[float, float]


def time_grid(grid: str, path: Path, interval: Interval, steps: int) -> Tensor:
    """Return the float64 times [steps + 1], increasing from exactly t_begin to exactly t_end.

    grid: a name, with options after colons if the defaults are not meant:
        "uniform": equal steps in time.
        "chebyshev": small steps, of size O(1 / steps^2), at both ends.
        "quadratic": distance from the end proportional to i^2 (Song et al. 2021, DDIM, Appendix D.2).
        "shifted:SHIFT": noise level tau -> shift tau / (1 + (shift - 1) tau), default 3 (Esser et al. 2024, Eq. 23).
        "logsnr:LOWEST:HIGHEST": equal steps in log(alpha / sigma) (Lu et al. 2022, Section 3.4).
        "edm:RHO:SIGMA_MIN:SIGMA_MAX": equal steps in (sigma / alpha)^(1 / rho), default 7 (Karras et al. 2022, Eq. 5).
        "nodes:T1:T2:...": the inner times themselves, as parts of the interval: one fewer than steps.
    "logsnr" and "edm" reach from one end of the path's log-SNR to the other, unless options bound them. Where the path has
    no finite log-SNR, -5 and 5 bound it, about what the linear VP diffusion spans, and 0.002 and 80 bound sigma / alpha.
    Their outer nodes lie at the interval's ends all the same.
    UsageError for an unknown grid, or options that it does not take or that leave no increasing grid.
    """
    name, *texts = grid.split(":")
    if name not in _GRIDS:
        raise UsageError(f"There is no time grid {name!r}; choose from {', '.join(_GRIDS)}.")
    options = _options(grid, texts, _GRIDS[name])
    times = _GRIDS[name](path, interval, steps, *options)
    times[0], times[-1] = interval
    if not bool((times.diff() > 0).all()):
        raise UsageError(f"The time grid {grid!r} is not increasing on {path} with {steps} steps; choose other options.")
    return times


def _options(grid: str, texts: list[str], function: Callable[..., Tensor]) -> list[float]:
    parameters = list(inspect.signature(function).parameters.values())[3:]
    unlimited = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    allowed = len(texts) if unlimited else len(parameters)
    if len(texts) > allowed:
        raise UsageError(f"The time grid {grid!r} has {len(texts)} options, but it takes {allowed} at most.")
    try:
        options = [float(text) for text in texts]
    except ValueError as error:
        raise UsageError(f"The time grid {grid!r} has an option that is not a number.") from error
    if not all(map(math.isfinite, options)):
        raise UsageError(f"The time grid {grid!r} has an option that is not finite.")
    return options


def _fractions(steps: int) -> Tensor:
    return torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)


def _uniform(path: Path, interval: Interval, steps: int) -> Tensor:
    del path
    begin, end = interval
    return begin + (end - begin) * _fractions(steps)


def _from_end(interval: Interval, distances: Tensor) -> Tensor:
    """Times at these distances from the end, as parts of the interval."""
    begin, end = interval
    return end - (end - begin) * distances


def _chebyshev(path: Path, interval: Interval, steps: int) -> Tensor:
    del path
    return _from_end(interval, 0.5 + 0.5 * torch.cos(math.pi * _fractions(steps)))


def _nodes(path: Path, interval: Interval, steps: int, *inner: float) -> Tensor:
    del path
    if len(inner) != steps - 1:
        raise UsageError(f"The time grid 'nodes' gives {len(inner)} inner times, but {steps} steps take {steps - 1}.")
    begin, end = interval
    return begin + (end - begin) * torch.tensor([0.0, *inner, 1.0], dtype=torch.float64)


def _quadratic(path: Path, interval: Interval, steps: int) -> Tensor:
    del path
    return _from_end(interval, (1.0 - _fractions(steps)) ** 2)


def _shifted(path: Path, interval: Interval, steps: int, shift: float = 3.0) -> Tensor:
    del path
    if shift <= 0:
        raise UsageError(f"The time grid 'shifted' needs a shift above 0, not {shift:g}.")
    tau = 1.0 - _fractions(steps)
    return _from_end(interval, shift * tau / (1.0 + (shift - 1.0) * tau))


def _logsnr(path: Path, interval: Interval, steps: int, lowest: float | None = None, highest: float | None = None) -> Tensor:
    first, last = _log_snr_range(path, interval, (lowest, highest), (-5.0, 5.0))
    return path.time(first + (last - first) * _fractions(steps))


def _edm(
    path: Path,
    interval: Interval,
    steps: int,
    rho: float = 7.0,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
) -> Tensor:
    if rho <= 0:
        raise UsageError(f"The time grid 'edm' needs a rho above 0, not {rho:g}.")
    given = [None if sigma is None else -math.log(max(sigma, 1e-100)) for sigma in (sigma_max, sigma_min)]
    first, last = _log_snr_range(path, interval, (given[0], given[1]), (-math.log(80.0), -math.log(0.002)))
    # As in the paper, sigma = 0 comes after sigma_min in a step of its own.
    to_zero = bool(path.log_snr(interval[1]) >= LOG_SNR_BOUND)
    largest, smallest = math.exp(-first / rho), math.exp(-last / rho)
    root = largest + (smallest - largest) * _fractions(max(steps - to_zero, 1))
    times = path.time(-rho * root.log())
    return torch.cat([times, times.new_tensor(interval[1:])])[: steps + 1] if to_zero else times


def _log_snr_range(
    path: Path, interval: Interval, given: tuple[float | None, float | None], defaults: tuple[float, float]
) -> tuple[float, float]:
    """The log-SNR between which a grid spreads its nodes: as given, or else the path's, or else the default."""
    ends = path.log_snr(torch.tensor(interval, dtype=torch.float64)).tolist()
    natural = [default if abs(end) >= LOG_SNR_BOUND else end for end, default in zip(ends, defaults, strict=True)]
    first, last = (own if wish is None else wish for own, wish in zip(natural, given, strict=True))
    return max(first, ends[0]), min(last, ends[1])


_GRIDS: dict[str, Callable[..., Tensor]] = {
    "uniform": _uniform,
    "nodes": _nodes,
    "chebyshev": _chebyshev,
    "quadratic": _quadratic,
    "shifted": _shifted,
    "logsnr": _logsnr,
    "edm": _edm,
}
