"""What a table becomes for one kind of network: coefficients of its outputs, and the pairings that make sense."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnsbench.paths import CondOT, DiscreteVP, Path
from bnsbench.plugin import NonStationarySolver, NotApplicableError, UsageError
from bnsbench_diffusers.schedule import FLOW, timesteps_of
from bnsbench_diffusers.schedulers.conventions import output_coefficients, prediction_type_of


def rows_in_outputs(table: NonStationarySolver, path: Path, prediction_type: str) -> Tensor:
    """Return float64 [n, n + 1] with x_{i+1} = rows[i] . (x_0, f_0, ..., f_{n-1}) for the network's outputs f_j.

    UsageError where an output says nothing about
    the velocity, as x does where sigma is 0. NotApplicableError for a table of split columns: a pipeline mixes the answers
    with and without the condition before its scheduler sees them.
    """
    if table.guidance is not None:
        raise NotApplicableError(
            "This table weighs the network's answers with and without the condition apart, but a diffusers pipeline hands "
            "its scheduler only their mixture: train one with columns=guided."
        )
    beta, gamma = output_coefficients(path, prediction_type, table.times[:-1])
    if not bool((beta.isfinite() & gamma.isfinite()).all()):
        raise UsageError(f"At one of the solver's times the output {prediction_type!r} does not determine the velocity.")
    return table.in_outputs(beta, gamma)


def check_pairing(path: Path, prediction_type: str, train_timesteps: int) -> None:
    """Raise UsageError for a prediction type that no network on the path has, or a path that no pipeline has."""
    timesteps_of(path, torch.zeros(1, dtype=torch.float64), train_timesteps)
    if (prediction_type == FLOW) != isinstance(path, CondOT):
        raise UsageError(f"No pipeline on the path {path.name!r} has a network that predicts {prediction_type!r}.")
    if isinstance(path, DiscreteVP) and len(path.alphas_cumprod) != train_timesteps:
        levels = len(path.alphas_cumprod)
        raise UsageError(f"num_train_timesteps is {train_timesteps}, but the path's schedule has {levels} levels.")


def prediction_type_for(path: Path, scheduler: Any, given: str | None) -> str:
    """Return the prediction type that is given, that of the pipeline's scheduler, or the only one that flows have."""
    if given is not None:
        return given
    if scheduler is not None:
        return prediction_type_of(scheduler)
    if isinstance(path, CondOT):
        return FLOW
    raise UsageError("Say what the pipeline's network predicts: pass pipe.scheduler, or prediction_type.")


def train_timesteps_for(path: Path, scheduler: Any) -> int:
    """Return T of the networks on the path."""
    if isinstance(path, DiscreteVP):
        return len(path.alphas_cumprod)
    return 1000 if scheduler is None else int(scheduler.config.num_train_timesteps)
