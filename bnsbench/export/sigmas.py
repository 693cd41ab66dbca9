"""The exporter ``sigmas``: times alone, for samplers elsewhere that have the solver's rule and take a list of sigmas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.export.denoised import in_denoised
from bnsbench.export.receivers import RECEIVERS, SAME, Receiver, receivers_of
from bnsbench.export.writing import about_solver, origin_of, write_json
from bnsbench.flows.paths import CondOT, DiscreteVP
from bnsbench.nonstationary.artefact import SolverArtefact, exportable


def sigmas(artefact: SolverArtefact, folder: Path, shift: float = 1.0) -> Path:
    """Write a solver's noise levels as JSON, with the samplers that make it of them and their settings, and return its path.

    Args:
        artefact: A solver whose coefficients are those of a classic rule on its times: a classic, a tuned one, an LD3.
        folder: Where it is written.
        shift: Of the sampler that will be given the sigmas of a flow, where it cannot be set to 1: sampler and pipeline
            apply it once more, so that it is taken out before. exp(mu) where the shift depends on the resolution.

    Raises:
        NotApplicableError: If no other software is known to run its rule on a list of times, or its columns are split.
        UsageError: If alpha = 0 at a time of a diffusion; for a shift that is not above 0, or on another path than a flow's;
            for a flow that does not begin at pure noise and end in the data.
    """
    _check_shift(artefact, shift)
    levels = in_denoised(exportable(artefact))
    found = receivers_of(artefact)
    if not found:
        raise NotApplicableError(_no_receiver(artefact))
    content = {
        "about": about_solver(artefact, _how(levels["flow"])),
        "rule": found[0].rule,
        "states": _states(levels["flow"]),
        "sigmas": levels["sigmas"],
        "samplers": [_entry(each, artefact, levels["sigmas"], shift) for each in found],
        "psnr": _psnr(artefact.training),
        **origin_of(artefact),
    }
    return write_json(artefact, folder, content, "_sigmas")


def _check_shift(artefact: SolverArtefact, shift: float) -> None:
    flow = isinstance(artefact.path, CondOT)
    if not (math.isfinite(shift) and shift > 0):
        raise UsageError(f"A shift is a number above 0, not {shift:g}.")
    if shift != 1.0 and not flow:
        raise UsageError(
            f"Sigmas are shifted on flows, but the solver's path is {artefact.path.name!r}: leave the shift out."
        )
    if flow and artefact.interval != (0.0, 1.0):
        begin, end = artefact.interval
        raise UsageError(
            f"Samplers of flows begin at pure noise, sigma = 1, and end in the data, but the solver goes from {1 - begin:g}"
            f" to {1 - end:g}: export it as kdiffusion or python."
        )


def _entry(receiver: Receiver, artefact: SolverArtefact, levels: list[float], shift: float) -> dict[str, Any]:
    """Return what is said of a sampler: its list, as it takes it, and what is to be set there."""
    own = {receiver.shifts: shift} if receiver.shifts else {}
    deviation = receiver.deviation(artefact)
    return {
        "sampler": receiver.sampler,
        "rule": receiver.rule,
        "argument": receiver.argument,
        "values": _values(receiver, artefact, levels, shift),
        "with_the_end": receiver.last,
        "settings": {**receiver.settings, **own},
        "deviation": 0.0 if deviation <= SAME else deviation,
        "note": receiver.note,
    }


def _values(receiver: Receiver, artefact: SolverArtefact, levels: list[float], shift: float) -> list[float]:
    """Return the list of a sampler, n numbers, or n + 1 where the end is among them."""
    path = artefact.path
    if receiver.argument == "timesteps" and isinstance(path, DiscreteVP):
        return [round(timestep) for timestep in path.timestep(artefact.solver.times[:-1]).tolist()]
    values = levels if receiver.last else levels[:-1]
    return [unshifted(level, shift) for level in values] if receiver.shifts else values


def unshifted(level: float, shift: float) -> float:
    """Return the noise level that a sampler with this shift turns into ``level``: shift s / (1 + (shift - 1) s) is it."""
    return level / (shift - (shift - 1) * level)


def _states(flow: bool) -> str:
    return "(1 - sigma) data + sigma noise" if flow else "data + sigma noise"


def _how(flow: bool) -> str:
    return (
        "These are the solver's times alone. The samplers that are listed make the same solver of them, each from its values"
        " and with its settings; deviation is the largest difference of a coefficient. Another sampler is another solver."
        f" Sigma is that of {_states(flow)}."
        + (
            " A sampler with a shift changes given sigmas once more: set it as told, or export for its shift."
            if flow
            else ""
        )
    )


def _psnr(record: Mapping[str, Any]) -> float | None:
    """Return the PSNR in dB on validation noise that the solver's record holds, None if it holds none."""
    found = record.get("psnr")
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else None


def _no_receiver(artefact: SolverArtefact) -> str:
    flow = isinstance(artefact.path, CondOT)
    rules = dict.fromkeys(each.rule for each in RECEIVERS if each.serves(artefact))
    own = _rule_of(artefact.training)
    whose = f"of its rule, {own}, or its own" if own else "its own"
    return (
        f"The coefficients of {artefact.name} are {whose}, and other software runs only {', '.join(rules)} on a list of"
        f" times here, so that times alone would be another solver: export the whole table (kdiffusion, odeint, python), or"
        f" train times for one of these rules, as ld3[rule={'euler' if flow else 'ddim'}] does."
    )


def _rule_of(record: Mapping[str, Any]) -> str:
    """Return the classic rule that a tuned or trained solver's record names, empty if it names none."""
    start = record.get("start")
    found = record.get("rule") or (start.get("rule") if isinstance(start, Mapping) else "")
    return found if isinstance(found, str) else ""
