"""Gaussian probability paths x_t = sigma_t x_0 + alpha_t x_1 with x_0 ~ N(0, I), from noise at t = 0 to data at t = 1.

All coefficients are computed in float64, whatever the dtype of t, and are finite on the closed interval [0, 1]:
where the mathematics has an infinite value (the log-SNR of CondOT at its ends, say), a documented bound stands for it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.interpolate import PchipInterpolator
from torch import Tensor

from bnsbench._text import quoted
from bnsbench.errors import UsageError
from bnsbench.flows.cubics import root_in_unit
from bnsbench.flows.precision import has_float64

LOG_SNR_BOUND = 300.0
"""Stands for an infinite log-SNR; exp(2 * 300) still is a finite float64."""

_TINY = 1e-150
_SIGMA_FLOOR = 1e-12


def as_time(t: Tensor | float) -> Tensor:
    """Return t as a float64 tensor that keeps t's gradient and device, or moves to the CPU from one without float64."""
    if isinstance(t, Tensor) and t.dtype != torch.float64 and not has_float64(t.device):
        t = t.cpu()
    return torch.as_tensor(t, dtype=torch.float64)


class Path(ABC):
    """A Gaussian path; t may be a number or a tensor of any shape, results are float64 tensors of that shape."""

    name: ClassVar[str]

    @abstractmethod
    def alpha(self, t: Tensor | float) -> Tensor:
        """The data's coefficient, increasing from about 0 to about 1 (constant 1 on variance-exploding paths)."""

    @abstractmethod
    def sigma(self, t: Tensor | float) -> Tensor:
        """The noise's coefficient, decreasing."""

    @abstractmethod
    def d_alpha(self, t: Tensor | float) -> Tensor:
        """d alpha / dt."""

    @abstractmethod
    def d_sigma(self, t: Tensor | float) -> Tensor:
        """d sigma / dt."""

    @abstractmethod
    def time(self, log_snr: Tensor | float) -> Tensor:
        """The time t in [0, 1] at which log(alpha / sigma) equals ``log_snr``; values out of range map to the ends."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """The numbers that define the path, JSON-like; ``path_from_dict`` inverts it."""

    def log_snr(self, t: Tensor | float) -> Tensor:
        """lambda_t = log(alpha_t / sigma_t), bounded by +-LOG_SNR_BOUND (Lu et al. 2022 call it half-logSNR)."""
        # A difference of logarithms, each finite where alpha or sigma is 0.
        ratio = torch.log(self.alpha(t).clamp_min(_TINY)) - torch.log(self.sigma(t).clamp_min(_TINY))
        return ratio.clamp(-LOG_SNR_BOUND, LOG_SNR_BOUND)

    def sigma_d_sigma(self, t: Tensor | float) -> Tensor:
        """sigma * d sigma / dt, which stays finite where the derivative of sigma does not."""
        return self.sigma(t) * self.d_sigma(t)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-like description that ``path_from_dict`` turns into an equal path."""
        return {"name": self.name, **self.parameters()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Path) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(repr(self.to_dict()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.parameters().items())})"


class CondOT(Path):
    """Conditional optimal transport, the rectified-flow line: alpha = t, sigma = 1 - t (Lipman et al. 2023)."""

    name = "condot"

    def alpha(self, t: Tensor | float) -> Tensor:
        return as_time(t)

    def sigma(self, t: Tensor | float) -> Tensor:
        return 1.0 - as_time(t)

    def d_alpha(self, t: Tensor | float) -> Tensor:
        return torch.ones_like(as_time(t))

    def d_sigma(self, t: Tensor | float) -> Tensor:
        return -torch.ones_like(as_time(t))

    def time(self, log_snr: Tensor | float) -> Tensor:
        # lambda = log(t / (1 - t))
        return torch.sigmoid(as_time(log_snr))

    def parameters(self) -> dict[str, Any]:
        return {}


CANONICAL = CondOT()
"""The path on which truths of trainings are solved and tables are trained, whatever path a model has: all noise levels have
their place in it, and states and velocities stay of one size."""


class Cosine(Path):
    """The cosine path: alpha = sin(pi t / 2), sigma = cos(pi t / 2) (Nichol & Dhariwal 2021; Salimans & Ho 2022)."""

    name = "cosine"

    def alpha(self, t: Tensor | float) -> Tensor:
        return torch.sin(as_time(t) * (math.pi / 2))

    def sigma(self, t: Tensor | float) -> Tensor:
        # sin of the complement is exactly 0 at t = 1, which cos(pi / 2) is not.
        return torch.sin((1.0 - as_time(t)) * (math.pi / 2))

    def d_alpha(self, t: Tensor | float) -> Tensor:
        return (math.pi / 2) * self.sigma(t)

    def d_sigma(self, t: Tensor | float) -> Tensor:
        return -(math.pi / 2) * self.alpha(t)

    def time(self, log_snr: Tensor | float) -> Tensor:
        # alpha / sigma = tan(pi t / 2)
        return torch.atan(torch.exp(as_time(log_snr))) * (2 / math.pi)

    def parameters(self) -> dict[str, Any]:
        return {}


class VariancePreserving(Path):
    """Base of the paths with alpha^2 + sigma^2 = 1, given by their integrated noise rate.

    Subclasses give B(t) = -2 log alpha and its (negative) derivative.
    """

    @abstractmethod
    def rate_integral(self, t: Tensor | float) -> Tensor:
        """B(t) = -2 log alpha(t) >= 0, decreasing in t."""

    @abstractmethod
    def d_rate_integral(self, t: Tensor | float) -> Tensor:
        """dB/dt <= 0."""

    def alpha(self, t: Tensor | float) -> Tensor:
        return torch.exp(-0.5 * self.rate_integral(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        # sigma^2 = 1 - exp(-B), without cancellation near the data, where B is small.
        variance = -torch.expm1(-self.rate_integral(t))
        # The root's slope is infinite at 0; a line through 0 stands for it there, as steep as d_sigma.
        ends = variance == 0
        return torch.where(ends, variance / (2.0 * _SIGMA_FLOOR), torch.sqrt(torch.where(ends, 1.0, variance)))

    def d_alpha(self, t: Tensor | float) -> Tensor:
        return -0.5 * self.d_rate_integral(t) * self.alpha(t)

    def d_sigma(self, t: Tensor | float) -> Tensor:
        # sigma^2 = 1 - alpha^2; the floor stands for the infinite slope at sigma = 0.
        return self.sigma_d_sigma(t) / self.sigma(t).clamp_min(_SIGMA_FLOOR)

    def sigma_d_sigma(self, t: Tensor | float) -> Tensor:
        # The derivative of sigma^2 + alpha^2 = 1, halved.
        return -self.alpha(t) * self.d_alpha(t)


class VP(VariancePreserving):
    """The variance-preserving diffusion with a linear noise rate (Song et al. 2021).

    With s = 1 - t, the time from data to noise, alpha = exp(-(beta_min s + (beta_max - beta_min) s^2 / 2) / 2). Equal rates,
    0 < beta_min = beta_max, are a constant one: alpha = exp(-beta s / 2).
    """

    name = "vp"

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        if not 0 < beta_min <= beta_max < math.inf:
            raise UsageError(f"VP needs 0 < beta_min <= beta_max, both finite, not {beta_min} and {beta_max}.")
        self.beta_min = float(beta_min)
        self.beta_max = float(beta_max)

    def rate_integral(self, t: Tensor | float) -> Tensor:
        # B is the integral of beta_min + (beta_max - beta_min) s from 0 to s.
        s = 1.0 - as_time(t)
        return s * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * s)

    def d_rate_integral(self, t: Tensor | float) -> Tensor:
        return -(self.beta_min + (self.beta_max - self.beta_min) * (1.0 - as_time(t)))

    def time(self, log_snr: Tensor | float) -> Tensor:
        # B as a function of lambda, from alpha^2 = exp(-B) = 1 / (1 + exp(-2 lambda)).
        rate = torch.nn.functional.softplus(-2.0 * as_time(log_snr), threshold=1e6)
        # The positive root of span s^2 / 2 + beta_min s - B = 0, in the form without cancellation.
        span = self.beta_max - self.beta_min
        s = 2.0 * rate / (self.beta_min + torch.sqrt(self.beta_min**2 + 2.0 * span * rate))
        return (1.0 - s).clamp(0.0, 1.0)

    def parameters(self) -> dict[str, Any]:
        return {"beta_min": self.beta_min, "beta_max": self.beta_max}


class DiscreteVP(VariancePreserving):
    """A DDPM schedule of T noise levels, made continuous by monotone cubic interpolation of its log-SNR.

    Timestep T - 1 lies at t = 0 and timestep 0 at t = 1; at integer timesteps the path equals the schedule exactly.
    ``alphas_cumprod`` holds T strictly decreasing numbers in (0, 1).
    """

    name = "discrete-vp"

    def __init__(self, alphas_cumprod: Sequence[float]) -> None:
        cumulative = np.asarray(alphas_cumprod, dtype=np.float64)
        if cumulative.ndim != 1 or len(cumulative) < 2 or not np.all(np.diff(cumulative) < 0):
            raise UsageError("DiscreteVP needs at least two strictly decreasing values of alphas_cumprod.")
        if cumulative[0] >= 1 or cumulative[-1] <= 0:
            raise UsageError("DiscreteVP needs alphas_cumprod between 0 and 1, both excluded.")
        self.alphas_cumprod = cumulative
        self._last = len(cumulative) - 1
        # alphas_cumprod is alpha^2, so lambda = (log alpha^2 - log(1 - alpha^2)) / 2; reversed, since noise is at t = 0.
        log_snr = 0.5 * (np.log(cumulative) - np.log1p(-cumulative))
        self._log_snr = log_snr[::-1].copy()
        nodes = np.arange(len(cumulative)) / self._last
        # Highest power first: coefficient [k, i] multiplies (t - node_i) ** (3 - k).
        self._cubic = torch.from_numpy(PchipInterpolator(nodes, self._log_snr).c.copy())

    @classmethod
    def linear(cls, beta_start: float = 1e-4, beta_end: float = 0.02, timesteps: int = 1000) -> DiscreteVP:
        """The DDPM schedule: T noise rates in arithmetic progression (Ho et al. 2020).

        Args:
            beta_start: The noise rate of timestep 0, between 0 and 1.
            beta_end: That of the last timestep.
            timesteps: Their number T.

        Raises:
            UsageError: If these rates make no decreasing schedule.
        """
        return cls(np.cumprod(1.0 - np.linspace(beta_start, beta_end, timesteps, dtype=np.float64)).tolist())

    @classmethod
    def scaled_linear(cls, beta_start: float = 0.00085, beta_end: float = 0.012, timesteps: int = 1000) -> DiscreteVP:
        """The latent-diffusion schedule: square roots of the noise rates in arithmetic progression (Rombach et al. 2022).

        Args:
            beta_start: The noise rate of timestep 0, between 0 and 1.
            beta_end: That of the last timestep.
            timesteps: Their number T.

        Raises:
            UsageError: If these rates make no decreasing schedule.
        """
        roots = np.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=np.float64)
        return cls(np.cumprod(1.0 - roots**2).tolist())

    def timestep(self, t: Tensor | float) -> Tensor:
        """The (fractional) DDPM timestep in [0, T - 1] at time t."""
        return (1.0 - as_time(t)) * self._last

    def _piece(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coefficients [4, ...] of the cubic that is valid at t, and how far t is from its left node."""
        index = (t.detach() * self._last).floor().long().clamp(0, self._last - 1)
        return self._cubic.to(t.device)[:, index], t - index.to(torch.float64) / self._last

    def log_snr(self, t: Tensor | float) -> Tensor:
        # Horner's scheme
        c, u = self._piece(as_time(t))
        return ((c[0] * u + c[1]) * u + c[2]) * u + c[3]

    def _d_log_snr(self, t: Tensor | float) -> Tensor:
        c, u = self._piece(as_time(t))
        return (3.0 * c[0] * u + 2.0 * c[1]) * u + c[2]

    def rate_integral(self, t: Tensor | float) -> Tensor:
        # B = -log alpha^2 = log(1 + exp(-2 lambda))
        return torch.nn.functional.softplus(-2.0 * self.log_snr(t), threshold=1e6)

    def d_rate_integral(self, t: Tensor | float) -> Tensor:
        return -2.0 * torch.sigmoid(-2.0 * self.log_snr(t)) * self._d_log_snr(t)

    def time(self, log_snr: Tensor | float) -> Tensor:
        target = as_time(log_snr).detach()
        nodes = torch.from_numpy(self._log_snr).to(target.device)
        index = torch.searchsorted(nodes, target.contiguous(), right=True).sub(1).clamp(0, self._last - 1)
        # In u = (t - node) T, which is 1 at the next node.
        powers = torch.tensor([3, 2, 1, 0], dtype=torch.float64, device=target.device).reshape(4, *(1,) * target.ndim)
        cubic = self._cubic.to(target.device)[:, index] / self._last**powers
        cubic[3] -= target
        inside = (index + root_in_unit(cubic)) / self._last
        return torch.where(target <= nodes[0], 0.0, torch.where(target >= nodes[-1], 1.0, inside))

    def parameters(self) -> dict[str, Any]:
        return {"alphas_cumprod": self.alphas_cumprod.tolist()}


class EDM(Path):
    """The variance-exploding path of Karras et al. 2022: alpha = 1 and sigma linear in t from sigma_max to sigma_min.

    Their ODE variable is sigma itself; time grids such as rho = 7 place the steps.
    """

    name = "edm"

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        _check_sigmas("EDM", sigma_min, sigma_max)
        self.sigma_min = float(sigma_min)
        self.sigma_max = float(sigma_max)

    def alpha(self, t: Tensor | float) -> Tensor:
        return torch.ones_like(as_time(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        t = as_time(t)
        return self.sigma_max * (1.0 - t) + self.sigma_min * t

    def d_alpha(self, t: Tensor | float) -> Tensor:
        return torch.zeros_like(as_time(t))

    def d_sigma(self, t: Tensor | float) -> Tensor:
        return torch.full_like(as_time(t), self.sigma_min - self.sigma_max)

    def time(self, log_snr: Tensor | float) -> Tensor:
        # alpha = 1, so that lambda = -log sigma.
        sigma = torch.exp(-as_time(log_snr))
        return ((self.sigma_max - sigma) / (self.sigma_max - self.sigma_min)).clamp(0.0, 1.0)

    def parameters(self) -> dict[str, Any]:
        return {"sigma_min": self.sigma_min, "sigma_max": self.sigma_max}


class VE(Path):
    """The variance-exploding SDE's path: alpha = 1, sigma = sigma_max (sigma_min / sigma_max)^t (Song et al. 2021)."""

    name = "ve"

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 50.0) -> None:
        _check_sigmas("VE", sigma_min, sigma_max)
        if sigma_min == 0:
            raise UsageError("VE needs sigma_min above 0: its noise levels are in geometric progression.")
        self.sigma_min = float(sigma_min)
        self.sigma_max = float(sigma_max)
        self._log_ratio = math.log(sigma_min / sigma_max)

    def alpha(self, t: Tensor | float) -> Tensor:
        return torch.ones_like(as_time(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        return self.sigma_max * torch.exp(as_time(t) * self._log_ratio)

    def d_alpha(self, t: Tensor | float) -> Tensor:
        return torch.zeros_like(as_time(t))

    def d_sigma(self, t: Tensor | float) -> Tensor:
        return self._log_ratio * self.sigma(t)

    def time(self, log_snr: Tensor | float) -> Tensor:
        # -lambda = log sigma = log sigma_max + t log(sigma_min / sigma_max)
        return ((-as_time(log_snr) - math.log(self.sigma_max)) / self._log_ratio).clamp(0.0, 1.0)

    def parameters(self) -> dict[str, Any]:
        return {"sigma_min": self.sigma_min, "sigma_max": self.sigma_max}


class Preconditioned(Path):
    """The path with its noise multiplied by sigma_0: alpha_bar = alpha, sigma_bar = sigma_0 sigma (Shaul et al. 2024).

    Their Eq. 14, made for large guidance scales: the source's standard deviation becomes sigma_0, which spends more
    steps on noise. Without guidance it takes them away from the data and does harm.
    """

    name = "preconditioned"

    def __init__(self, base: Path | Mapping[str, Any], sigma_0: float) -> None:
        if not 0 < sigma_0 < math.inf:
            raise UsageError(f"Preconditioning needs a finite sigma_0 above 0, not {sigma_0}.")
        self.base = base if isinstance(base, Path) else path_from_dict(base)
        self.sigma_0 = float(sigma_0)

    def alpha(self, t: Tensor | float) -> Tensor:
        return self.base.alpha(t)

    def sigma(self, t: Tensor | float) -> Tensor:
        return self.sigma_0 * self.base.sigma(t)

    def d_alpha(self, t: Tensor | float) -> Tensor:
        return self.base.d_alpha(t)

    def d_sigma(self, t: Tensor | float) -> Tensor:
        return self.sigma_0 * self.base.d_sigma(t)

    def sigma_d_sigma(self, t: Tensor | float) -> Tensor:
        return self.sigma_0**2 * self.base.sigma_d_sigma(t)

    def time(self, log_snr: Tensor | float) -> Tensor:
        # lambda_bar = log(alpha / (sigma_0 sigma)) = lambda - log sigma_0
        return self.base.time(as_time(log_snr) + math.log(self.sigma_0))

    def parameters(self) -> dict[str, Any]:
        return {"base": self.base.to_dict(), "sigma_0": self.sigma_0}


def _check_sigmas(name: str, sigma_min: float, sigma_max: float) -> None:
    if not 0 <= sigma_min < sigma_max < math.inf:
        raise UsageError(f"{name} needs 0 <= sigma_min < sigma_max, both finite, not {sigma_min} and {sigma_max}.")


_PATHS: dict[str, type[Path]] = {path.name: path for path in (CondOT, Cosine, VP, DiscreteVP, EDM, VE, Preconditioned)}


def _known() -> dict[str, type[Path]]:
    """Return every kind of path by its name."""
    from bnsbench.flows.sampled_path import Sampled  # noqa: PLC0415 (it is one of these paths itself)

    return {**_PATHS, Sampled.name: Sampled}


def make_path(name: str, **parameters: Any) -> Path:
    """Return the path of that name, such as "condot" or "vp"; UsageError if there is none or its parameters do not fit."""
    known = _known()
    if not isinstance(name, str) or name not in known:
        raise UsageError(f"There is no path {name!r}; known paths: {', '.join(sorted(known))}.")
    try:
        return known[name](**parameters)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UsageError(f"The path {name!r} does not take these parameters: {error}.") from error


def path_from_dict(description: Mapping[str, Any]) -> Path:
    """Return the path that ``Path.to_dict`` described; UsageError if it is no such description."""
    if not isinstance(description, Mapping) or "name" not in description:
        raise UsageError(f"{quoted(description)} describes no path: it has no name.")
    parameters = dict(description)
    return make_path(parameters.pop("name"), **parameters)


def is_readable(path: Path) -> bool:
    """Return whether a path that a solver's file names can be read again."""
    try:
        return path_from_dict(path.to_dict()) == path
    except UsageError:
        return False


def check_readable(path: Path) -> None:
    """Raise UsageError for a path that a solver's file could name, but nobody could read again."""
    if not is_readable(path):
        raise UsageError(
            f"A solver's file could not be read again, because the path {path.name!r} is none of"
            f" {', '.join(sorted(_known()))}: bnsbench.paths.as_path makes one that can be (docs/how-to/own-network.md)."
        )
