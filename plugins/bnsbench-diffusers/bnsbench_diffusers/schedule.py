"""What a scheduler's configuration says of its network: the path, what is predicted, and the timesteps that it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.paths import CondOT, DiscreteVP, Path
from bnsbench.flows.predictions import Prediction

PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x"}
"""Diffusers' names of what a network predicts, and ours."""

ZERO_TERMINAL = 0.25
"""Part of the last but one ``alphas_cumprod`` that stands for a last one of 0, whose log-SNR would be infinite."""


@dataclass(frozen=True)
class Schedule:
    """How a network was trained: its path, its prediction and the number of its timesteps.

    Networks with DDPM schedules are told the timestep from ``timesteps - 1`` at noise to 0 at data; flow networks,
    ``timesteps`` times the noise level, and they predict noise minus data, the velocity with its sign changed.
    """

    path: Path
    prediction: Prediction
    timesteps: int

    def timestep(self, t: Tensor) -> Tensor:
        """Return the (fractional) timestep at time t, in float64, of t's shape."""
        if isinstance(self.path, DiscreteVP):
            return self.path.timestep(t)
        return self.timesteps * self.path.sigma(t)

    def prediction_from(self, output: Tensor) -> Tensor:
        """Return the prediction that a network's output means, of the same shape."""
        return -output if self.prediction == "velocity" else output


def read_schedule(scheduler: Any) -> Schedule:
    """Return the schedule on which the network of a diffusers scheduler was trained.

    Discrete noise levels become a path by interpolation of their log-SNR. Raises UsageError for schedulers that are neither
    flow matching ones nor know ``alphas_cumprod``, or whose networks are told something other than timesteps.
    """
    name, config = type(scheduler).__name__, scheduler.config
    if serves_flow(scheduler):
        return Schedule(CondOT(), "velocity", int(config.get("num_train_timesteps", 1000)))
    levels = getattr(scheduler, "alphas_cumprod", None)
    if levels is None or config.get("timestep_type", "discrete") != "discrete":
        raise UsageError(
            f"The scheduler {name} has no discrete noise levels and is not a flow matching one, so its path is not known; "
            "put the scheduler with which the network was trained into the pipeline."
        )
    predicted = str(config.get("prediction_type", "epsilon"))
    if predicted not in PREDICTIONS:
        raise UsageError(f"The scheduler {name} has the prediction type {predicted!r}; known: {', '.join(PREDICTIONS)}.")
    cumulative = torch.as_tensor(levels).double().tolist()
    cumulative[-1] = cumulative[-1] or ZERO_TERMINAL * cumulative[-2]
    return Schedule(DiscreteVP(cumulative), PREDICTIONS[predicted], len(cumulative))


def serves_flow(scheduler: Any) -> bool:
    """Return whether a scheduler of diffusers is for networks of flows."""
    config = scheduler.config
    flow_sigmas = config.get("use_flow_sigmas", False) or config.get("prediction_type") == "flow_prediction"
    return type(scheduler).__name__.startswith("FlowMatch") or bool(flow_sigmas)
