"""A table in terms of denoised states and noise levels, as k-diffusion, ComfyUI and networks of EDM have them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.paths import CondOT, DiscreteVP
from bnsbench.flows.predictions import velocity_coefficients
from bnsbench.nonstationary.artefact import SolverArtefact, exportable


def in_denoised(artefact: SolverArtefact) -> dict[str, Any]:
    """Return a table in terms of denoised states, as k-diffusion and ComfyUI have them.

    Returns:
        flow: whether states are those of the CondOT path, else data + sigma noise. sigmas: n + 1 noise levels. times: of
        the n evaluations, from noise at 0 to data at 1. timesteps: what a DDPM network is told then, None on other paths.
        rows: row i has i + 2 numbers, of the initial state and of i + 1 denoised ones.

    Raises:
        UsageError: If alpha = 0 at a time.
        NotApplicableError: For a table of split columns.
    """
    flow = isinstance(artefact.path, CondOT)
    rows, scales = rows_in_data(artefact)
    path, times = artefact.path, artefact.solver.times
    sigmas = path.sigma(times)
    return {
        "flow": flow,
        "sigmas": (sigmas if flow else sigmas / scales).tolist(),
        "times": times[:-1].tolist(),
        "timesteps": path.timestep(times[:-1]).tolist() if isinstance(path, DiscreteVP) else None,
        "rows": [row[: i + 2].tolist() for i, row in enumerate(rows)],
    }


def rows_in_data(artefact: SolverArtefact) -> tuple[Tensor, Tensor]:
    """Return a table in terms of data predictions and scaled states, and the scales.

    States of the other software are y_i = x_i / s_i with s = alpha, or 1 on the CondOT path; u_j = beta_j x_j + gamma_j D_j.

    Returns:
        Float64 [n, n + 1] with y_{i+1} = rows[i] . (y_0, D_0, ..., D_{n-1}), and s [n + 1].

    Raises:
        UsageError: If alpha = 0 at a time.
        NotApplicableError: For a table of split columns.
    """
    table, path = exportable(artefact).solver, artefact.path
    times = table.times
    scales = torch.ones_like(times) if isinstance(path, CondOT) else path.alpha(times)
    if not bool((scales > 0).all()):
        raise UsageError(
            f"The solver begins on the path {path.name!r} where there is no data at all (alpha = 0), so that in data + sigma"
            " noise, the states of this format, sigma would be infinite: train it on an interval that begins a little later."
        )
    beta, gamma = velocity_coefficients(path, "x", times[:-1])
    rows = table.in_outputs(beta, gamma) / scales[1:, None]
    rows[:, 0] *= scales[0]
    return rows, scales
