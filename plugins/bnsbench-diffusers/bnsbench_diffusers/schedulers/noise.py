"""The noise levels that a scheduler is given, which are always those of the model's path."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import betas_for_alpha_bar
from torch import Tensor

from bnsbench.plugin import NotApplicableError
from bnsbench_diffusers.schedule import noise_levels
from bnsbench_diffusers.schedulers.classes import SchedulerClass
from bnsbench_diffusers.schedulers.conventions import SAME_LOG_SNR

OPTIONS = frozenset(
    {
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "num_train_timesteps",
        "rescale_betas_zero_snr",
        "snr_shift_scale",
    }
)
"""Options that say what the noise levels are, which the model's path decides."""

UNSHIFTED: Mapping[str, Any] = {"snr_shift_scale": 1.0}
"""What keeps a scheduler to the levels that its other options say."""

FLOAT32 = 2.0**-23
"""Roundings of a level close to 1 in float32, of which schedulers take the distance to 1."""

SQUARED_COSINE = "squaredcos_cap_v2"


def noise_settings(scheduler_class: SchedulerClass, levels: Tensor) -> dict[str, Any]:
    """Return the options that give a scheduler the noise levels [T], its ``alphas_cumprod`` from timestep 0 on.

    These are the options by which the pipeline's own scheduler says them, if they say the same, and else the levels
    themselves. NotApplicableError if options that the user has chosen say others.
    """
    chosen = {key: value for key, value in scheduler_class.chosen.items() if key in OPTIONS}
    unshifted = {key: value for key, value in UNSHIFTED.items() if key in scheduler_class.takes}
    inherited = {key: value for key, value in scheduler_class.inherited.items() if key in OPTIONS}
    if chosen:
        _check_chosen(scheduler_class, {**unshifted, **inherited, **chosen}, levels)
        return {**unshifted, **inherited, **chosen}
    with suppress(NotImplementedError, ValueError):  # a class may not know the schedule by that name
        if inherited and difference(_levels_by(scheduler_class, {**unshifted, **inherited}), levels) < SAME_LOG_SNR:
            return {**unshifted, **inherited}
    name = inherited.get("beta_schedule", _name_of(tuple(levels.tolist())))
    # Only this one is named: DPM-Solver rounds its timesteps on all others.
    named = {"beta_schedule": SQUARED_COSINE if name == SQUARED_COSINE else "linear"}
    rates = noise_rates(tuple(levels.tolist()))
    given = {"trained_betas": rates, "num_train_timesteps": len(levels)}
    return {"rescale_betas_zero_snr": False, **UNSHIFTED, **named, **given}


def difference(levels: Tensor | None, expected: Tensor) -> float:
    """Return the largest difference of the log-SNR of two schedules, beyond what float32 makes of levels close to 1.

    Infinite if they cannot be compared.
    """
    if levels is None or len(levels) != len(expected):
        return math.inf
    away = 0.5 * (torch.logit(levels) - torch.logit(expected)).abs() - FLOAT32 / (1.0 - expected)
    found = float(away.max())
    return max(found, 0.0) if math.isfinite(found) else math.inf


@functools.lru_cache(maxsize=16)
def noise_rates(levels: tuple[float, ...]) -> tuple[float, ...]:
    """Return the rates beta_i of which schedulers make these levels again, though they keep them in float32.

    Each rate makes up for the rounding of those before it.
    """
    rates, product = [], 1.0
    for level in levels:
        rate = np.float32(1.0 - level / product)
        product *= float(np.float32(1.0) - rate)
        rates.append(float(rate))
    return tuple(rates)


@functools.lru_cache(maxsize=16)
def _name_of(levels: tuple[float, ...]) -> str:
    """Return the name of the schedule where it makes a difference."""
    cumulative = torch.cumprod(1.0 - betas_for_alpha_bar(len(levels)), dim=0).double()
    expected = torch.tensor(levels, dtype=torch.float64)
    return SQUARED_COSINE if difference(cumulative, expected) < SAME_LOG_SNR else ""


def _levels_by(scheduler_class: SchedulerClass, options: Mapping[str, Any]) -> Tensor | None:
    """Return the levels that these options mean to a class, None if it has none."""
    return _levels_of(scheduler_class.type, json.dumps(options, sort_keys=True))  # type: ignore[arg-type]


@functools.lru_cache(maxsize=64)
def _levels_of(kind: type[Any], options: str) -> Tensor | None:
    scheduler = kind(**json.loads(options))
    if not hasattr(scheduler, "alphas_cumprod"):
        return None
    return torch.tensor(noise_levels(scheduler), dtype=torch.float64)


def _check_chosen(scheduler_class: SchedulerClass, options: Mapping[str, Any], levels: Tensor) -> None:
    deviation = difference(_levels_by(scheduler_class, options), levels)
    if deviation < SAME_LOG_SNR:
        return
    names = " and ".join(f"{key}={scheduler_class.chosen[key]}" for key in sorted(OPTIONS & set(scheduler_class.chosen)))
    how = f"{deviation:.2g} away in log-SNR" if math.isfinite(deviation) else "not as many, or none"
    raise NotApplicableError(
        f"{scheduler_class.name} gets its noise levels from the model's path, and with {names} they would be others "
        f"({how}); leave that out."
    )
