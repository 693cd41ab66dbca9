"""The border between bnsbench's conventions and those of diffusers; every conversion of schedulers is in this file.

What networks are told of time is in `bnsbench_diffusers.schedule`.

| | bnsbench | diffusers |
|---|---|---|
| time | t from 0 (noise) to 1 (data) | T - 1 (noise) to 0 (data); 1000 sigma on flows; 1 - t on the cosine path |
| noise level | alpha_t, sigma_t | sigma / alpha of the same state; sigma itself on flows |
| velocity | u = dx/dt | the output "flow_prediction" is noise - data = -u |
| outputs | "epsilon", "x", "v" | "epsilon", "sample", "v_prediction" |
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnsbench.paths import CondOT, DiscreteVP, Path
from bnsbench.plugin import UsageError, combine, noise_coefficients, to_data, velocity_coefficients
from bnsbench_diffusers.schedule import FLOW, PREDICTIONS, read_schedule, serves_flow

SAME_LOG_SNR = 2e-3
"""Schedules whose log-SNR differ by less are the same one: diffusers multiplies up its alphas in float32."""


def output_coefficients(path: Path, prediction_type: str, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return float64 (beta, gamma) with u = beta x + gamma f for diffusers' network output f; UsageError if unknown."""
    if prediction_type == FLOW:
        return torch.zeros_like(t), -torch.ones_like(t)
    if prediction_type not in PREDICTIONS:
        known = ", ".join([*PREDICTIONS, FLOW])
        raise UsageError(f"There is no prediction type {prediction_type!r} in diffusers; choose from {known}.")
    return velocity_coefficients(path, PREDICTIONS[prediction_type], t)


def network_output(path: Path, prediction_type: str, t: Tensor, x: Tensor, u: Tensor) -> Tensor:
    """Return the output of that prediction type that the velocity u means at (t, x); finite where alpha is 0.

    v refers to the state on the variance-preserving path of the same log-SNR, which is where diffusers' networks see it.
    """
    if prediction_type == FLOW:
        return -u
    p, q = noise_coefficients(path, t)
    if prediction_type == "epsilon":
        return combine(p, x, q, u)
    if prediction_type == "sample":
        return to_data(path, t, x, u)
    # Inserting eps and x1 into (alpha eps - sigma x1) / norm, alpha cancels.
    alpha, sigma, d_alpha, d_sigma = path.alpha(t), path.sigma(t), path.d_alpha(t), path.d_sigma(t)
    norm, wronskian = torch.sqrt(alpha**2 + sigma**2), sigma * d_alpha - d_sigma * alpha
    slope = (alpha * d_alpha + path.sigma_d_sigma(t)) / (norm * wronskian)
    return combine(slope, x, -norm / wronskian, u)


def noise_ratio(path: Path, times: Tensor) -> Tensor:
    """Return float64 sigma / alpha at ``times``, or sigma on flows: what diffusers calls sigmas."""
    return path.sigma(times) if isinstance(path, CondOT) else torch.exp(-path.log_snr(times))


def path_of(scheduler: Any) -> Path:
    """Return the path of the networks that a scheduler of diffusers serves; UsageError if it does not tell."""
    return read_schedule(scheduler).path


def prediction_type_of(scheduler: Any) -> str:
    """Return what the networks that a scheduler of diffusers serves predict, in diffusers' terms."""
    return FLOW if serves_flow(scheduler) else str(scheduler.config.get("prediction_type", "epsilon"))


def same_path(one: Path, other: Path) -> bool:
    """Whether two paths are the same up to the rounding of diffusers' schedules."""
    if not (isinstance(one, DiscreteVP) and isinstance(other, DiscreteVP)):
        return one == other
    if len(one.alphas_cumprod) != len(other.alphas_cumprod):
        return False
    nodes = torch.linspace(0.0, 1.0, len(one.alphas_cumprod), dtype=torch.float64)
    return bool((one.log_snr(nodes) - other.log_snr(nodes)).abs().max() < SAME_LOG_SNR)
