"""Gaussian mixtures, whose velocity is known in closed form on every path: models without any training error."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor

from bnsbench.contract.offered_paths import offered_paths
from bnsbench.contract.selectors import resolve_target
from bnsbench.contract.specs import PathSpec
from bnsbench.errors import UsageError
from bnsbench.flows.interval import usual_interval
from bnsbench.flows.paths import EDM, VE, VP, CondOT, Cosine, DiscreteVP, Path
from bnsbench.flows.sampled_path import as_path
from bnsbench.models.exact import ExactModel


@dataclass(frozen=True)
class Mixture:
    """Gaussians in R^d with weights [K], means [K, d] and lower-triangular Cholesky factors [K, d, d] of the covariances.

    per_class: how many consecutive components make up one class; None for a mixture without classes.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor
    per_class: int | None = None

    def sample(self, labels: Tensor | None, n: int, generator: torch.Generator) -> Tensor:
        """Draw samples [n, d].

        Args:
            labels: Classes [n], or None for samples of any class.
            n: The number of samples.
            generator: On the CPU.
        """
        weights = self.weights.expand(n, -1) if labels is None else self.weights * self.members(labels)
        chosen = torch.multinomial(weights, 1, generator=generator)[:, 0]
        noise = torch.randn(n, self.means.shape[1], generator=generator, dtype=self.means.dtype)
        return self.means[chosen] + torch.einsum("nij,nj->ni", self.factors[chosen], noise)

    def members(self, labels: Tensor) -> Tensor:
        """Return the boolean [n, K] that says which components belong to each label's class."""
        classes = torch.arange(len(self.weights)) // (self.per_class or len(self.weights))
        return classes == labels[:, None]

    def digest(self) -> str:
        """Return the sha256 of the parameters."""
        content = b"".join(tensor.contiguous().numpy().tobytes() for tensor in (self.weights, self.means, self.factors))
        return hashlib.sha256(content + str(self.per_class).encode()).hexdigest()


class MixtureModel(ExactModel):
    """The exact velocity field of a Gaussian mixture (in float64 by default) on a given path.

    Under every condition the field is exact: the conditional one is that of the class's own mixture.

    Args:
        mixture: The distribution of the data.
        path: The Gaussian path.
        shape: Of a sample, with as many numbers as the mixture has dimensions.
        end: Of the interval.
        begin: Likewise.
    """

    dtype = torch.float64

    mixture: Mixture

    def __init__(self, mixture: Mixture, path: Path, shape: tuple[int, ...], end: float = 1.0, begin: float = 0.0) -> None:
        self.mixture = mixture
        self.classes = 0 if mixture.per_class is None else len(mixture.means) // mixture.per_class
        self.path = path
        self.shape = shape
        self.interval = (begin, end)
        variances, bases = torch.linalg.eigh(mixture.factors @ mixture.factors.mT)
        self._variances = variances  # [K, d]
        self._basis = bases.mT.contiguous()  # [K, d, d], one eigenvector per row
        self._means = mixture.means
        self._projected_means = torch.einsum("kd,kde->ke", mixture.means, bases)
        self._log_weights = mixture.weights.log()

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        coefficients = self._coefficients(t, x)
        if condition is None:
            return self._velocity(coefficients, x.flatten(1), slice(None)).reshape(x.shape)
        flat = x.flatten(1)
        velocity = torch.empty_like(flat)
        for label in torch.unique(condition).tolist():
            # Only the class's own components are computed, so one group per label beats masking them all.
            rows = torch.nonzero(condition == label)[:, 0]
            own = coefficients if t.ndim == 0 else coefficients[:, rows]
            velocity = velocity.index_copy(0, rows, self._velocity(own, flat[rows], self._components(label)))
        return velocity.reshape(x.shape)

    def _components(self, label: int) -> slice:
        if label == self.classes:
            return slice(None)
        per_class = self.mixture.per_class or 0
        return slice(label * per_class, (label + 1) * per_class)

    def _velocity(self, coefficients: Tensor, x: Tensor, components: slice) -> Tensor:
        """Return u = sum_k r_k u_k for x [batch, d]: the components' affine velocities, weighted by their posteriors r_k.

        u_k = a' mu_k + G_k (x - a mu_k) with G_k = (a a' C_k + s s') / (a^2 C_k + s^2), evaluated in C_k's eigenbasis,
        where a = alpha_t and s = sigma_t; no term is singular at either end of the path.
        """
        alpha, d_alpha, noise_variance, noise_slope = coefficients
        variances, means = self._variances[components], self._means[components]
        count, dim = means.shape
        # c_k = x - a mu_k in the eigenbasis of component k.
        basis = self._basis[components].flatten(0, 1)  # [K * d, d], so that one product projects on all components
        centred = (x @ basis.mT).view(-1, count, dim) - alpha * self._projected_means[components]
        # The marginal of component k at time t is N(a mu_k, a^2 C_k + s^2); G_k is diagonal in its eigenbasis.
        marginal = alpha**2 * variances + noise_variance
        precision = 1.0 / marginal
        gain = (alpha * d_alpha * variances + noise_slope) * precision
        # r_k is proportional to w_k N(x; a mu_k, a^2 C_k + s^2).
        log_density = -0.5 * ((centred * centred * precision).sum(-1) + marginal.log().sum(-1))
        posterior = torch.softmax(log_density + self._log_weights[components], dim=-1)
        # sum_k r_k (a' mu_k + G_k c_k)
        correction = (centred * gain * posterior[..., None]).flatten(1) @ basis
        velocity: Tensor = d_alpha[..., 0] * (posterior @ means) + correction
        return velocity

    def _coefficients(self, t: Tensor, x: Tensor) -> Tensor:
        """Return alpha, alpha', sigma^2 and sigma sigma' in x's dtype: [4, 1 or batch, 1, 1]."""
        path = self.path
        values = path.alpha(t), path.d_alpha(t), path.sigma(t) ** 2, path.sigma_d_sigma(t)
        return torch.stack(values).to(dtype=x.dtype, device=x.device).reshape(4, -1, 1, 1)

    def draw(self, labels: Tensor | None, count: int, generator: torch.Generator) -> Tensor:
        return self.mixture.sample(labels, count, generator).reshape(-1, *self.shape)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        for name in ("_variances", "_basis", "_means", "_projected_means", "_log_weights"):
            setattr(self, name, getattr(self, name).to(device=device, dtype=dtype))
        return super().to(device, dtype)


def ring8(path: str = "condot") -> MixtureModel:
    """Return eight round Gaussians of deviation 0.06 on the unit circle, in the plane; path as `mixture_path` reads it."""
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    means = torch.stack([angles.cos(), angles.sin()], dim=-1)
    factors = 0.06 * torch.eye(2, dtype=torch.float64).expand(8, 2, 2)
    return _model(Mixture(torch.full((8,), 1 / 8, dtype=torch.float64), means, factors), path, (2,))


def aniso5(path: str = "condot") -> MixtureModel:
    """Return five elongated Gaussians (deviations 0.3 and 0.03) whose long axes turn around the circle, in the plane.

    path as `mixture_path` reads it.
    """
    angles = torch.arange(5, dtype=torch.float64) * (2 * math.pi / 5)
    cos, sin = angles.cos(), angles.sin()
    # The long axis points 30 degrees away from the radius, so the components form a pinwheel.
    tilted = angles + math.pi / 6
    axes = torch.stack([tilted.cos(), -tilted.sin(), tilted.sin(), tilted.cos()], dim=-1).reshape(5, 2, 2)
    spread = torch.tensor([0.3, 0.03], dtype=torch.float64)
    factors = torch.linalg.cholesky(axes @ torch.diag(spread**2) @ axes.mT)
    means = 0.8 * torch.stack([cos, sin], dim=-1)
    return _model(Mixture(torch.full((5,), 1 / 5, dtype=torch.float64), means, factors), path, (2,))


def mixture_path(text: str) -> tuple[Path, tuple[float, float]]:
    """Return the path that a text means, and the interval of mixtures on it.

    The path's numbers follow its name after colons; one that is left out keeps its default:

    - "condot"
    - "cosine"
    - "vp:BETA_MIN:BETA_MAX": from 0.1 to 20; equal ones are a constant rate.
    - "discrete-vp:BETA_START:BETA_END:TIMESTEPS": DDPM's linear schedule, from 1e-4 to 0.02 in 1000.
    - "edm:SIGMA_MIN:SIGMA_MAX": from 0.002 to 80.
    - "ve:SIGMA_MIN:SIGMA_MAX": from 0.01 to 50.
    - The name of a path that a plugin offers, and the numbers that are its parameters.

    Raises:
        UsageError: If there is no such path, or it does not take these numbers.
    """
    name, *texts = text.split(":")
    known = dict(_PATHS)
    for spec in offered_paths():
        known.setdefault(spec.name, (partial(_offered, spec), tuple(spec.parameters)))
    if name not in known:
        raise UsageError(f"Mixtures are not offered on the path {name!r}; choose from {', '.join(known)}.")
    make, names = known[name]
    if len(texts) > len(names):
        takes = " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "none"
        raise UsageError(f"The path {text!r} has {len(texts)} numbers after its name, but {name} takes {takes}.")
    numbers = {name: _number(number, text) for name, number in zip(names, texts, strict=False)}
    try:
        path = make(**numbers)
    except (TypeError, ValueError) as error:  # a number of timesteps that is none
        raise UsageError(f"The path {text!r} cannot be made: {error}.") from error
    return path, usual_interval(path)


_PATHS: dict[str, tuple[Callable[..., Path], tuple[str, ...]]] = {
    "condot": (CondOT, ()),
    "cosine": (Cosine, ()),
    "vp": (VP, ("beta_min", "beta_max")),
    "discrete-vp": (DiscreteVP.linear, ("beta_start", "beta_end", "timesteps")),
    "edm": (EDM, ("sigma_min", "sigma_max")),
    "ve": (VE, ("sigma_min", "sigma_max")),
}


def _offered(spec: PathSpec, **numbers: float) -> Path:
    """Return the path that a plugin offers, one that a solver's file can hold."""
    return as_path(resolve_target(spec)(**{**spec.parameters, **numbers}))


def _number(text: str, path: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise UsageError(f"The path {path!r} has {text!r} where a number is meant.") from error
    return int(number) if number.is_integer() else number


def _model(mixture: Mixture, path: str, shape: tuple[int, ...]) -> MixtureModel:
    made, (begin, end) = mixture_path(path)
    return MixtureModel(mixture, made, shape, end, begin)
