"""Conversions between the velocity and what networks predict: u_t(x) = beta_t x + gamma_t f_t(x).

The table in both directions follows from x_t = sigma eps + alpha x1 and u_t = sigma' eps + alpha' x1. The direction from
the velocity is singular where a path stands still; the other one is for epsilon where alpha = 0 and for x where sigma = 0.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.interval import stands_still
from bnsbench.flows.paths import Path

Prediction = Literal["velocity", "epsilon", "x", "v"]
"""What a network predicts: the velocity u, the noise epsilon, the data x, or v = alpha eps - sigma x1."""


def check_prediction(prediction: str) -> None:
    """Raise UsageError unless ``prediction`` names one of the four prediction types."""
    if prediction not in get_args(Prediction):
        raise UsageError(f"There is no prediction type {prediction!r}; choose from {', '.join(get_args(Prediction))}.")


def velocity_coefficients(path: Path, prediction: Prediction, t: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return float64 (beta_t, gamma_t) with u = beta x + gamma f for the prediction f (Shaul et al. 2024, Table 1).

    Args:
        path: The Gaussian path on which the network was trained.
        prediction: What it predicts.
        t: Times of any shape, which the coefficients keep.
    """
    alpha, sigma, d_alpha, d_sigma = path.alpha(t), path.sigma(t), path.d_alpha(t), path.d_sigma(t)
    if prediction == "velocity":
        return torch.zeros_like(alpha), torch.ones_like(alpha)
    if prediction == "epsilon":
        # x1 = (x - sigma eps) / alpha, inserted into u = sigma' eps + alpha' x1
        return d_alpha / alpha, (d_sigma * alpha - sigma * d_alpha) / alpha
    if prediction == "x":
        # eps = (x - alpha x1) / sigma, likewise
        return d_sigma / sigma, (sigma * d_alpha - d_sigma * alpha) / sigma
    # eps = (sigma x + alpha v) / N and x1 = (alpha x - sigma v) / N, with N = alpha^2 + sigma^2
    norm = alpha**2 + sigma**2
    return (alpha * d_alpha + path.sigma_d_sigma(t)) / norm, (d_sigma * alpha - d_alpha * sigma) / norm


def singularity(path: Path, prediction: Prediction, t: float) -> str | None:
    """Return why a prediction and a velocity do not tell each other at a time, as part of a sentence; None if they do.

    Args:
        path: The Gaussian path on which the network was trained.
        prediction: What it predicts.
        t: The time.
    """
    if stands_still(path, t):
        return "alpha and sigma stand still there, and what a velocity says of data and noise is divided by their speed"
    alpha, sigma = float(path.alpha(t)), float(path.sigma(t))
    if prediction == "epsilon" and alpha == 0:
        return "alpha is 0 there, and an epsilon prediction is divided by it"
    if prediction == "x" and sigma == 0:
        return "sigma is 0 there, and an x prediction is divided by it"
    # sigma falls to 0 like a root where sigma sigma' does not vanish with it.
    if prediction != "velocity" and sigma == 0 and float(path.sigma_d_sigma(t)) != 0:
        return f"the slope of sigma is infinite there, and a prediction of {prediction} is multiplied by it"
    return None


def data_coefficients(path: Path, t: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return float64 (p, q) with x1 = p x + q u, the data prediction that a velocity implies."""
    alpha, sigma, d_alpha, d_sigma = path.alpha(t), path.sigma(t), path.d_alpha(t), path.d_sigma(t)
    # Cramer's rule for x = sigma eps + alpha x1 and u = sigma' eps + alpha' x1, whose determinant is W.
    wronskian = sigma * d_alpha - d_sigma * alpha
    return -d_sigma / wronskian, sigma / wronskian


def noise_coefficients(path: Path, t: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return float64 (p, q) with eps = p x + q u, the noise prediction that a velocity implies."""
    alpha, sigma, d_alpha, d_sigma = path.alpha(t), path.sigma(t), path.d_alpha(t), path.d_sigma(t)
    # Cramer's rule, as for the data.
    wronskian = sigma * d_alpha - d_sigma * alpha
    return d_alpha / wronskian, -alpha / wronskian


def to_velocity(path: Path, prediction: Prediction, t: Tensor | float, x: Tensor, f: Tensor) -> Tensor:
    """Return the velocity u_t(x) that a network's prediction implies.

    Args:
        path: The Gaussian path on which the network was trained.
        prediction: What it predicts.
        t: Time, 0-d or [batch].
        x: States [batch, ...].
        f: The prediction for them, of the same shape.
    """
    if prediction == "velocity":
        return f
    beta, gamma = velocity_coefficients(path, prediction, t)
    return combine(beta, x, gamma, f)


def to_data(path: Path, t: Tensor | float, x: Tensor, u: Tensor) -> Tensor:
    """Return the data prediction x1 that a velocity implies.

    Args:
        path: The Gaussian path of the field.
        t: Time, 0-d or [batch].
        x: States [batch, ...].
        u: Their velocities, of the same shape.
    """
    p, q = data_coefficients(path, t)
    return combine(p, x, q, u)


def to_noise(path: Path, t: Tensor | float, x: Tensor, u: Tensor) -> Tensor:
    """Return the noise prediction epsilon that a velocity implies.

    Args:
        path: The Gaussian path of the field.
        t: Time, 0-d or [batch].
        x: States [batch, ...].
        u: Their velocities, of the same shape.
    """
    p, q = noise_coefficients(path, t)
    return combine(p, x, q, u)


def per_sample(coefficient: Tensor, x: Tensor) -> Tensor:
    """Cast a coefficient, 0-d or [batch], to x's dtype and device, with trailing axes so that it multiplies x."""
    coefficient = coefficient.to(dtype=x.dtype, device=x.device)
    return coefficient if coefficient.ndim == 0 else coefficient.reshape(-1, *(1,) * (x.ndim - 1))


def combine(p: Tensor, x: Tensor, q: Tensor, y: Tensor) -> Tensor:
    """Return p x + q y.

    Args:
        p: Coefficient of x, 0-d or [batch].
        x: States [batch, ...].
        q: Coefficient of y, 0-d or [batch].
        y: [batch, ...], such as predictions.
    """
    return per_sample(p, x) * x + per_sample(q, y) * y
