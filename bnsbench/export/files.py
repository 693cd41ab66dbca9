"""The exporters: a solver's numbers in the terms of other software, put into the template of its file."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from bnsbench._version import __version__
from bnsbench.errors import UsageError
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.flows.paths import CondOT, DiscreteVP
from bnsbench.flows.predictions import velocity_coefficients
from bnsbench.nonstationary.artefact import SolverArtefact, exportable
from bnsbench.storage.files import name_of, replacing

TEMPLATES = Path(__file__).with_name("templates")
_NUMBERS = re.compile(r"# numbers\n.*?# end of numbers\n", re.DOTALL)
WIDTH = 110
"""Letters of a line of prose in a generated file."""


def kdiffusion(artefact: SolverArtefact, folder: Path) -> Path:
    """Write a sampler for k-diffusion, ComfyUI, Forge, A1111 and networks of EDM, and return its path.

    Its states are x / alpha = data + sigma noise, or those of the CondOT path for flows, and it sees denoised states alone.

    Raises:
        UsageError: If the solver begins where alpha = 0, so that sigma would be infinite.
        NotApplicableError: For a table of split columns.
    """
    found = in_denoised(artefact)
    values = {"NFE": artefact.solver.nfe, **{name.upper(): value for name, value in found.items()}}
    how = (
        "sample is a sampler as k-diffusion has them: ComfyUI takes it by KSAMPLER(module.sample) with module.SIGMAS, other"
        " programs by whatever takes a function like theirs. Its states are "
        + ("(1 - sigma) data + sigma noise." if found["flow"] else "data + sigma noise.")
        + " TIMES are those of the evaluations, from noise at 0 to data at 1"
        + (", and TIMESTEPS what a DDPM network is told then." if found["timesteps"] else ".")
    )
    return _write(artefact, folder, "kdiffusion", values, how)


def odeint(artefact: SolverArtefact, folder: Path, time: Literal["0 to 1", "1 to 0"] = "0 to 1") -> Path:
    """Write a drop-in for torchdiffeq's odeint, as flow_matching, SiT, torchcfm and others call it, and return its path.

    Args:
        artefact: The solver.
        folder: Where it is written.
        time: How the velocity counts time: from noise at 0, or from noise at 1 (with dx/dt in that time).

    Raises:
        UsageError: For another direction of time.
        NotApplicableError: For a table of split columns.
    """
    if time not in ("0 to 1", "1 to 0"):
        raise UsageError(f"time is '0 to 1' or '1 to 0', not {time!r}.")
    table = exportable(artefact).solver
    back = time == "1 to 0"
    times = 1.0 - table.times if back else table.times
    values = {
        "NFE": table.nfe,
        "INTERVAL": [float(times[0]), float(times[-1])],
        "TIMES": times[:-1].tolist(),
        "A": table.a.tolist(),
        "B": [((-1.0 if back else 1.0) * row[: i + 1]).tolist() for i, row in enumerate(table.b)],
    }
    how = (
        "odeint(func, y0, t) stands in for torchdiffeq's, register('bns') makes it a method there, and sample(velocity, x0)"
        f" needs nothing but a velocity. Time runs from noise at {float(times[0]):g} to data at {float(times[-1]):g}."
    )
    return _write(artefact, folder, "odeint", values, how)


def plain_json(artefact: SolverArtefact, folder: Path) -> Path:
    """Write the numbers and what they are for as JSON, for programs in any language, and return its path.

    Raises:
        NotApplicableError: For a table of split columns.
    """
    table = exportable(artefact).solver
    content = {
        "formula": "x[i+1] = a[i] x[0] + sum over j <= i of b[i][j] u(t[j], x[j])",
        "about": about(artefact),
        "times": table.times.tolist(),
        "a": table.a.tolist(),
        "b": [row[: i + 1].tolist() for i, row in enumerate(table.b)],
        **_denoised_if_any(artefact),
        **_origin(artefact),
    }
    return _save(folder / f"{_stem(artefact)}.json", json.dumps(content, indent=1, allow_nan=False) + "\n")


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


def _denoised_if_any(artefact: SolverArtefact) -> dict[str, Any]:
    """Return what JSON says of denoised states: the numbers, or why there are none."""
    try:
        return {"denoised": in_denoised(artefact)}
    except UsageError as error:
        return {"denoised": None, "denoised_reason": str(error)}


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


def about(artefact: SolverArtefact, how: str = "") -> str:
    """Return what a file says of itself: the solver, its model, how it is used, and what it cannot do."""
    scales = artefact.guidance if isinstance(artefact.guidance, tuple) else (artefact.guidance,)
    table = artefact.solver
    paragraphs = [
        f"{artefact.name} at {table.nfe} NFE for {artefact.model or 'any model'}, on the path {artefact.path.name}.",
        f"Made by bnsbench {__version__}. The numbers are those of x[i+1] = a[i] x[0] + sum over j of b[i,j] u[j], chosen"
        f" for one network (fingerprint {artefact.fingerprint or 'none'}), {table.nfe} evaluations and guidance"
        f" {guidance_in_words(scales)} in u_w = (1 + w) u_cond - w u_uncond, which is a guidance_scale of w + 1 elsewhere."
        " With another network, guidance, resolution or precision they may do worse than a classic solver.",
        how,
        "It goes from noise to data in one go: it cannot begin at another picture, fill gaps or stop half-way, and refuses"
        " another number of steps. It comes under bnsbench's licence (Apache-2.0), without warranty.",
    ]
    return "\n\n".join(textwrap.fill(each, WIDTH) for each in paragraphs if each)


def _origin(artefact: SolverArtefact) -> dict[str, Any]:
    guidance = artefact.guidance
    return {
        "name": artefact.name,
        "nfe": artefact.solver.nfe,
        "model": artefact.model,
        "fingerprint": artefact.fingerprint,
        "guidance": list(guidance) if isinstance(guidance, tuple) else guidance,
        "path": artefact.path.to_dict(),
        "interval": list(artefact.interval),
    }


def _write(artefact: SolverArtefact, folder: Path, template: str, values: Mapping[str, Any], how: str) -> Path:
    """Write a template with a solver's numbers."""
    text = (TEMPLATES / f"{template}.py").read_text(encoding="utf-8")
    facts = {"MODEL": artefact.model, "FINGERPRINT": artefact.fingerprint, "GUIDANCE": _origin(artefact)["guidance"]}
    numbers = "".join(f"{name} = {_literal(value)}\n" for name, value in {**values, **facts}.items())
    prose = about(artefact, how).replace("\\", "\\\\").replace('"""', "'''")
    filled = text.replace('"""ABOUT."""', f'"""{prose}\n"""', 1)
    return _save(folder / f"{_stem(artefact)}_{template}.py", _NUMBERS.sub(lambda _: numbers, filled, count=1))


def _literal(value: Any) -> str:
    """Return a value as Python writes it, lists of lists with a line for each."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "[\n" + "".join(f"    {row!r},\n" for row in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _stem(artefact: SolverArtefact) -> str:
    """Return a name that can be imported."""
    scales = artefact.guidance if isinstance(artefact.guidance, tuple) else (artefact.guidance,)
    parts = (artefact.name, artefact.model, *(f"w{w:g}" for w in scales), f"nfe{artefact.solver.nfe}")
    text = name_of("_".join(part for part in parts if part))
    stem = re.sub(r"[^0-9A-Za-z_]+", "_", text).strip("_").lower()
    return stem if stem[:1].isalpha() else f"solver_{stem}"


def _save(file: Path, text: str) -> Path:
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return file
