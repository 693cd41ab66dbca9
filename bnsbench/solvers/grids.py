"""Time grids: where a solver's steps begin and end."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.paths import LOG_SNR_BOUND, Path

Interval = tuple[float, float]


@dataclass(frozen=True)
class NamedGrid:
    """A family of grids, with its options as numbers: what a grid's text "family:option:option" means."""

    family: str
    options: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> NamedGrid:
        """Read the text form of a grid.

        Args:
            text: A family's name or other name, with its options after colons.

        Returns:
            The grid that it means.

        Raises:
            UsageError: If the family is unknown, or has options that it does not take.
        """
        name, *texts = text.split(":")
        family = _ALIASES.get(name, name)
        if family not in _GRIDS:
            raise UsageError(f"There is no time grid {name!r}; choose from {', '.join([*_GRIDS, *_ALIASES])}.")
        try:
            options = tuple(float(option) for option in texts)
        except ValueError as error:
            raise UsageError(f"The time grid {text!r} has an option that is not a number.") from error
        if not all(map(math.isfinite, options)):
            raise UsageError(f"The time grid {text!r} has an option that is not finite.")
        allowed = _most_options(_GRIDS[family])
        if len(options) > allowed:
            raise UsageError(f"The time grid {text!r} has {len(options)} options, but it takes {allowed:g} at most.")
        return cls(family, options)

    def __str__(self) -> str:
        return ":".join([self.family, *(f"{option:.6g}" for option in self.options)])

    @property
    def in_words(self) -> str:
        """The grid for people, such as "Kumaraswamy 1.25, 1.6"."""
        options = ", ".join(f"{option:.4g}" for option in self.options)
        return f"{_WORDS.get(self.family, self.family)} {options}".rstrip()


Grid = str | NamedGrid | Tensor
"""A time grid: its name, with options after colons; the same as numbers; or the times themselves, float64 [steps + 1]."""


def time_grid(grid: Grid, path: Path, interval: Interval, steps: int) -> Tensor:
    """The times of a grid, increasing from exactly the interval's beginning to exactly its end.

    "logsnr" and "edm" reach from one end of the path's log-SNR to the other, unless options bound them. Where the path has
    no finite log-SNR, -5 and 5 bound it, about what the linear VP diffusion spans, and 0.002 and 80 bound sigma / alpha.
    Their outer nodes lie at the interval's ends all the same.

    Args:
        grid: The times [steps + 1] themselves, or a name, with options after colons if the defaults are not meant:
            "uniform": equal steps in time.
            "chebyshev": small steps, of size O(1 / steps^2), at both ends.
            "power:P": distance from the end proportional to i^P, default 2, as parts of the interval.
            "quadratic": the same with P = 2 (Song et al. 2021, DDIM, Appendix D.2).
            "kumaraswamy:P:Q": t = 1 - (1 - x^P)^Q for equal steps in x, as parts of the interval: the distribution function
            of Kumaraswamy 1980; P above 1 begins with longer steps, Q above 1 ends with shorter ones.
            "shifted:SHIFT" or "shift:SHIFT": noise level tau -> shift tau / (1 + (shift - 1) tau), default 3; below 1 it has
            shorter steps at the data (Esser et al. 2024, Eq. 23).
            "logsnr:LOWEST:HIGHEST": equal steps in log(alpha / sigma) (Lu et al. 2022, Section 3.4).
            "inner:LOWEST:HIGHEST": the inner nodes equal in log(alpha / sigma) from the lowest to the highest, and whole
            first and last steps from and to the interval's ends; default -3 to 3.
            "edm:RHO:SIGMA_MIN:SIGMA_MAX" or "karras:...": equal steps in (sigma / alpha)^(1 / rho), default 7 (Karras et al.
            2022, Eq. 5).
            "nodes:T1:T2:...": the inner times themselves, as parts of the interval: one fewer than steps.
        path: The path, which knows the log-SNR at each time.
        interval: Where the times begin and end.
        steps: How many steps, 1 or more.

    Returns:
        Times, float64 [steps + 1].

    Raises:
        UsageError: If the grid is unknown, or has options that it does not take or that leave no increasing grid.
    """
    if isinstance(grid, Tensor):
        return _given(grid, interval, steps)
    named = NamedGrid.parse(grid) if isinstance(grid, str) else grid
    times = _GRIDS[named.family](path, interval, steps, *named.options)
    times[0], times[-1] = interval
    if not bool((times.diff() > 0).all()):
        raise UsageError(f"The time grid '{grid}' is not increasing on {path} with {steps} steps; choose other options.")
    return times


def in_noise_levels(grid: Grid) -> bool:
    """Whether a grid's nodes are noise levels, so that it has a node for each step however many evaluations that takes."""
    return not isinstance(grid, Tensor) and (NamedGrid.parse(grid) if isinstance(grid, str) else grid).family in _LEVELS


def _given(times: Tensor, interval: Interval, steps: int) -> Tensor:
    """Check times that a caller gives as they are."""
    if times.shape != (steps + 1,):
        raise UsageError(f"A time grid for {steps} steps has {steps + 1} times, not {list(times.shape)}.")
    times = times.detach().to("cpu", torch.float64, copy=True)
    begin, end = interval
    slack = 1e-9 * (end - begin)
    if abs(float(times[0]) - begin) > slack or abs(float(times[-1]) - end) > slack:
        raise UsageError(f"A time grid reaches from {begin:g} to {end:g} here, not from {times[0]:g} to {times[-1]:g}.")
    times[0], times[-1] = interval
    if not bool((times.diff() > 0).all()):  # a time that is not a number is refused as well
        raise UsageError("The times of a grid must increase.")
    return times


def _most_options(function: Callable[..., Tensor]) -> float:
    parameters = list(inspect.signature(function).parameters.values())[3:]
    unlimited = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    return math.inf if unlimited else len(parameters)


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
    return _power(path, interval, steps)


def _power(path: Path, interval: Interval, steps: int, power: float = 2.0) -> Tensor:
    del path
    if power <= 0:
        raise UsageError(f"The time grid 'power' needs a power above 0, not {power:g}.")
    return _from_end(interval, (1.0 - _fractions(steps)) ** power)


def _kumaraswamy(path: Path, interval: Interval, steps: int, p: float = 1.0, q: float = 1.0) -> Tensor:
    del path
    if min(p, q) <= 0:
        raise UsageError(f"The time grid 'kumaraswamy' needs P and Q above 0, not {p:g} and {q:g}.")
    return _from_end(interval, (1.0 - _fractions(steps) ** p) ** q)


def _shifted(path: Path, interval: Interval, steps: int, shift: float = 3.0) -> Tensor:
    del path
    if shift <= 0:
        raise UsageError(f"The time grid 'shifted' needs a shift above 0, not {shift:g}.")
    tau = 1.0 - _fractions(steps)
    return _from_end(interval, shift * tau / (1.0 + (shift - 1.0) * tau))


def _logsnr(path: Path, interval: Interval, steps: int, lowest: float | None = None, highest: float | None = None) -> Tensor:
    first, last = _log_snr_range(path, interval, (lowest, highest), (-5.0, 5.0))
    return path.time(first + (last - first) * _fractions(steps))


def _inner(path: Path, interval: Interval, steps: int, lowest: float = -3.0, highest: float = 3.0) -> Tensor:
    begin, end = interval
    # A single inner node lies in the middle.
    share = torch.linspace(0.0, 1.0, steps - 1, dtype=torch.float64) if steps > 2 else torch.full((steps - 1,), 0.5)
    nodes = path.time(lowest + (highest - lowest) * share.to(torch.float64))
    return torch.cat([nodes.new_tensor([begin]), nodes, nodes.new_tensor([end])])


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
    root = largest + (smallest - largest) * _fractions(steps - to_zero)
    times = path.time(-rho * root.log())
    return torch.cat([times, times.new_tensor(interval[1:])]) if to_zero else times


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
    "power": _power,
    "kumaraswamy": _kumaraswamy,
    "shifted": _shifted,
    "logsnr": _logsnr,
    "inner": _inner,
    "edm": _edm,
}
_ALIASES = {"shift": "shifted", "karras": "edm"}
"""Names under which other software knows a family."""
_LEVELS = ("logsnr", "inner", "edm")
_WORDS = {
    "kumaraswamy": "Kumaraswamy",
    "logsnr": "log-SNR",
    "inner": "inner log-SNR",
    "edm": "Karras",
    "shifted": "shift",
}
