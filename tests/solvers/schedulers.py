"""Schedulers of diffusers, stepping themselves on the nodes of a path."""

from __future__ import annotations

import torch

from bnsbench.flows.predictions import to_noise


def prepare(scheduler, path, times):
    """Give a scheduler the nodes ``times`` [n + 1] of a path as its sigmas."""
    n = len(times) - 1
    scheduler.set_timesteps(n)
    scheduler.sigmas = path.sigma(times) / path.alpha(times)
    scheduler.timesteps = torch.arange(n, 0, -1, dtype=torch.float64)
    scheduler.num_inference_steps = n
    scheduler.set_begin_index(0)


def run(scheduler, field, times, x, output=None):
    """Step the scheduler from node to node, feeding it the noise prediction (or another ``output``)."""
    for t, timestep in zip(times[:-1], scheduler.timesteps, strict=True):
        u = field(t, x)
        prediction = to_noise(field.path, t, x, u) if output is None else output(t, x, u)
        x = scheduler.step(prediction, timestep, x).prev_sample
    return x
