"""The exporters: a solver's numbers in the terms of other software, put into the template of its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from bnsbench.errors import UsageError
from bnsbench.export.denoised import in_denoised
from bnsbench.export.writing import about_solver, origin_of, write_json, write_template
from bnsbench.nonstationary.artefact import SolverArtefact, exportable

Direction = Literal["0 to 1", "1 to 0"]
"""How a velocity counts time: from noise at 0, or from noise at 1, with dx/dt in that time."""


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
    return write_template(artefact, folder, "kdiffusion", values, how)


def odeint(artefact: SolverArtefact, folder: Path, time: Direction = "0 to 1") -> Path:
    """Write a drop-in for torchdiffeq's odeint, as flow_matching, SiT, torchcfm and others call it, and return its path.

    Args:
        artefact: The solver.
        folder: Where it is written.
        time: How the velocity counts time: from noise at 0, or from noise at 1 (with dx/dt in that time).

    Raises:
        UsageError: For another direction of time.
        NotApplicableError: For a table of split columns.
    """
    how = (
        "odeint(func, y0, t) stands in for torchdiffeq's, register('bns') makes it a method there, and sample(velocity, x0)"
        f" needs nothing but a velocity. {_time_in_words(artefact, time)}"
    )
    return write_template(artefact, folder, "odeint", _in_velocities(artefact, time), how)


def python(artefact: SolverArtefact, folder: Path, time: Direction = "0 to 1") -> Path:
    """Write a Python module that imports nothing, for NumPy, JAX, torch and plain numbers, and return its path.

    Args:
        artefact: The solver.
        folder: Where it is written.
        time: How the velocity counts time: from noise at 0, or from noise at 1 (with dx/dt in that time).

    Raises:
        UsageError: For another direction of time.
        NotApplicableError: For a table of split columns.
    """
    how = (
        "sample(velocity, x0) works with whatever can be added and multiplied by numbers, and imports nothing."
        f" {_time_in_words(artefact, time)}"
    )
    return write_template(artefact, folder, "python", _in_velocities(artefact, time), how)


def plain_json(artefact: SolverArtefact, folder: Path) -> Path:
    """Write the numbers and what they are for as JSON, for programs in any language, and return its path.

    Raises:
        NotApplicableError: For a table of split columns.
    """
    table = exportable(artefact).solver
    content = {
        "formula": "x[i+1] = a[i] x[0] + sum over j <= i of b[i][j] u(t[j], x[j])",
        "about": about_solver(artefact),
        "times": table.times.tolist(),
        "a": table.a.tolist(),
        "b": [row[: i + 1].tolist() for i, row in enumerate(table.b)],
        **_denoised_if_any(artefact),
        **origin_of(artefact),
    }
    return write_json(artefact, folder, content)


def _in_velocities(artefact: SolverArtefact, time: Direction) -> dict[str, Any]:
    """Return the numbers of a table for velocities in either direction of time, by the names of the templates."""
    if time not in get_args(Direction):
        raise UsageError(f"time is '0 to 1' or '1 to 0', not {time!r}.")
    table = exportable(artefact).solver
    back = time == "1 to 0"
    times = 1.0 - table.times if back else table.times
    return {
        "NFE": table.nfe,
        "INTERVAL": [float(times[0]), float(times[-1])],
        "TIMES": times[:-1].tolist(),
        "A": table.a.tolist(),
        "B": [((-1.0 if back else 1.0) * row[: i + 1]).tolist() for i, row in enumerate(table.b)],
    }


def _time_in_words(artefact: SolverArtefact, time: Direction) -> str:
    """Return how time runs, and how wide the initial states are."""
    ends = [1.0 - end if time == "1 to 0" else end for end in artefact.interval]
    width = float(artefact.path.sigma(artefact.interval[0]))
    return f"Time runs from noise at {ends[0]:g} to data at {ends[1]:g}, and x0 is noise of standard deviation {width:.6g}."


def _denoised_if_any(artefact: SolverArtefact) -> dict[str, Any]:
    """Return what JSON says of denoised states: the numbers, or why there are none."""
    try:
        return {"denoised": in_denoised(artefact)}
    except UsageError as error:
        return {"denoised": None, "denoised_reason": str(error)}
