"""What a scheduler's configuration says of its network: the path, what is predicted, and the timesteps that it is told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnsbench.paths import CondOT, Cosine, DiscreteVP, Path, path_from_dict
from bnsbench.plugin import Prediction, UsageError
from bnsbench_diffusers.origin import Origin, attach

PREDICTIONS: dict[str, Prediction] = {"epsilon": "epsilon", "v_prediction": "v", "sample": "x"}
"""Diffusers' names of what a network predicts, and ours."""

COSINE = "CosineDPMSolverMultistepScheduler"
"""The scheduler of Stable Audio."""

ZERO_TERMINAL = 0.25
"""Part of the last but one ``alphas_cumprod`` that stands for a last one of 0, whose log-SNR would be infinite."""

SMALLEST_ALPHA_CUMPROD = 2.0**-24
"""What several schedulers keep in the place of a last ``alphas_cumprod`` of 0."""

FLOW = "flow_prediction"
"""Diffusers' name of what networks of flows predict, the noise minus the data."""


@dataclass(frozen=True)
class Schedule:
    """How a network was trained: its path, its prediction, the number of its timesteps, and where pipelines begin.

    Flow networks predict noise minus data, the velocity with its sign changed.
    """

    path: Path
    prediction: Prediction
    timesteps: int
    interval: tuple[float, float] = (0.0, 1.0)

    def timestep(self, t: Tensor) -> Tensor:
        """Return the (fractional) timestep at time t, in float64, of t's shape."""
        return timesteps_of(self.path, t, self.timesteps)

    def prediction_from(self, output: Tensor) -> Tensor:
        """Return the prediction that a network's output means, of the same shape."""
        return -output if self.prediction == "velocity" else output


def timesteps_of(path: Path, times: Tensor, train_timesteps: int) -> Tensor:
    """Return the float64 timesteps that networks on the path are told at ``times``; UsageError if there are none.

    With a DDPM schedule from T - 1 at noise to 0 at data; T times the noise level on flows; from 1 to 0 on the cosine path.
    """
    if isinstance(path, CondOT):
        return train_timesteps * path.sigma(times)
    if isinstance(path, DiscreteVP):
        return path.timestep(times)
    if isinstance(path, Cosine):
        return 1.0 - times.to(torch.float64)
    raise UsageError(
        f"diffusers has no timesteps on the path {path.name!r}: its pipelines know DDPM schedules, flows and the cosine one."
    )


def times_of(path: Path, timesteps: Tensor, train_timesteps: int) -> Tensor:
    """Return the float64 times at which networks are told these timesteps, the inverse of `timesteps_of`."""
    last = train_timesteps if isinstance(path, CondOT) else 1 if isinstance(path, Cosine) else train_timesteps - 1
    return 1.0 - timesteps.to(torch.float64) / last


def read_schedule(scheduler: Any) -> Schedule:
    """Return the schedule on which the network of a diffusers scheduler was trained; its path remembers the scheduler.

    Discrete noise levels become a path by interpolation of their log-SNR. Raises UsageError for schedulers that are neither
    flow matching ones nor know ``alphas_cumprod`` nor belong to Stable Audio nor hold a solver with its path, or whose
    networks are told something other than timesteps.
    """
    schedule = _read(scheduler)
    attach(schedule.path, Origin.of(scheduler, _name_of(schedule.prediction)))
    return schedule


def _read(scheduler: Any) -> Schedule:
    name, config = type(scheduler).__name__, scheduler.config
    if holds_solver(scheduler):
        return _schedule_of_solver(config)
    if serves_flow(scheduler):
        return Schedule(CondOT(), "velocity", int(config.get("num_train_timesteps", 1000)))
    if name == COSINE:
        return _cosine_schedule(config)
    levels = getattr(scheduler, "alphas_cumprod", None)
    if levels is None or config.get("timestep_type", "discrete") != "discrete":
        raise UsageError(
            f"The scheduler {name} has no discrete noise levels and is not a flow matching one, so its path is not known; "
            "put the scheduler with which the network was trained into the pipeline."
        )
    predicted = str(config.get("prediction_type", "epsilon"))
    if predicted not in PREDICTIONS:
        raise UsageError(f"The scheduler {name} has the prediction type {predicted!r}; known: {', '.join(PREDICTIONS)}.")
    cumulative = noise_levels(scheduler)
    return Schedule(DiscreteVP(cumulative), PREDICTIONS[predicted], len(cumulative))


def noise_levels(scheduler: Any) -> list[float]:
    """Return a scheduler's ``alphas_cumprod``, with one and the same last level for zero terminal SNR.

    Schedulers that rescale their levels keep 0 or `SMALLEST_ALPHA_CUMPROD` there, for networks that are the same.
    """
    cumulative: list[float] = torch.as_tensor(scheduler.alphas_cumprod).double().tolist()
    placeholder = scheduler.config.get("rescale_betas_zero_snr", False) and cumulative[-1] <= SMALLEST_ALPHA_CUMPROD
    if placeholder or cumulative[-1] == 0:
        cumulative[-1] = ZERO_TERMINAL * cumulative[-2]
    return cumulative


def holds_solver(scheduler: Any) -> bool:
    """Return whether a scheduler is a `NonStationaryScheduler`, which holds a solver and its path."""
    return "solver" in scheduler.config and "path" in scheduler.config


def _schedule_of_solver(config: Any) -> Schedule:
    """Return the schedule that a solver's scheduler was made for, which its configuration holds."""
    names = {**PREDICTIONS, FLOW: "velocity"}
    begin, end = config["interval"]
    path, prediction = path_from_dict(config["path"]), names[config["prediction_type"]]
    return Schedule(path, prediction, int(config["num_train_timesteps"]), (float(begin), float(end)))


def _name_of(prediction: Prediction) -> str:
    return next((theirs for theirs, ours in PREDICTIONS.items() if ours == prediction), FLOW)


def _cosine_schedule(config: Any) -> Schedule:
    """Return the schedule of Stable Audio's networks; UsageError unless they predict v of data with deviation 1.

    Its scheduler keeps x = x1 + s eps for s = sigma / alpha, shows the network c_in x with c_in = 1 / sqrt(s^2 + 1) and
    c_noise = (2 / pi) atan s, and makes x1 = c_skip x + c_out f of its output f with c_skip = c_in^2 and c_out = -s c_in.
    With alpha = cos(atan s) = c_in and sigma = sin(atan s) = s c_in that is the cosine path at t = 1 - c_noise and
    x1 = alpha (c_in x) - sigma f: f is v. Pipelines begin at s = sigma_max, so the interval does; it ends in the data, as
    they do (``final_sigmas_type`` "zero"): sigma_min is where their last step begins.
    """
    if (config["prediction_type"], config["sigma_data"]) != ("v_prediction", 1.0):
        found = f"{config['prediction_type']!r} with sigma_data {config['sigma_data']}"
        raise UsageError(f"The scheduler {COSINE} is known for networks of 'v_prediction' with sigma_data 1, not {found}.")
    begin = 1.0 - 2.0 / math.pi * math.atan(config["sigma_max"])
    return Schedule(Cosine(), "v", int(config["num_train_timesteps"]), (begin, 1.0))


def serves_flow(scheduler: Any) -> bool:
    """Return whether a scheduler of diffusers is for networks of flows."""
    config = scheduler.config
    flow_sigmas = config.get("use_flow_sigmas", False) or config.get("prediction_type") == FLOW
    return type(scheduler).__name__.startswith("FlowMatch") or bool(flow_sigmas)
