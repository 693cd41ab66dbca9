"""Starts that a user may choose and that are known to end low: told when they are chosen, by properties of the field."""

from __future__ import annotations

import torch

from bnsbench.flows.model import Model

TIMES = 9
"""Times at which a path is looked at."""


def cautions_about(init: str, sigma_0: float, model: Model, guidance: float | tuple[float, ...]) -> list[str]:
    """Return a sentence for everything that is known to be bad about a start.

    Measured with the default trainer at 4 NFE without guidance (mean PSNR in dB on validation pairs):
        model                 default   euler   midpoint   unipc   euler, sigma_0 = 5
        ring8                    67.9    45.5       69.3    54.2                 60.8
        ring8[path=vp]           65.3    44.3       44.3    49.9                 23.4
        aniso5                   61.0    51.3       41.6    40.0                 50.8
        digits-vp                34.9               34.9    34.9                 30.2
        digits-ot                37.8               37.8    37.8                 37.8

    Args:
        init: a classic solver's selector; "greedy" and files are no classic starts, and of them nothing is known.
        sigma_0: of its preconditioning.
        model: whose path matters.
        guidance: the scale w, or all of them.
    """
    if not init or init == "greedy" or init.endswith(".json"):
        return []
    found = []
    if not is_straight(model):
        found.append(
            f"The start {init!r} is a classic solver, and the path {model.path.name!r} is not straight: trainings from there"
            " have ended up to 20 dB below the default start, above all in few dimensions; leave init out."
        )
    scales = guidance if isinstance(guidance, tuple) else (guidance,)
    if sigma_0 > 1 and not any(scales):
        found.append(
            f"sigma_0 = {sigma_0:g} is for high guidance: without guidance trainings from there have ended up to 40 dB below"
            " the default start; leave sigma_0 at 1."
        )
    return found


def is_straight(model: Model) -> bool:
    """Return whether the path's states are means of noise and data, alpha + sigma = 1, as on CondOT."""
    times = torch.linspace(*model.interval, TIMES, dtype=torch.float64)
    total = model.path.alpha(times) + model.path.sigma(times)
    return bool(torch.allclose(total, torch.ones_like(total), rtol=0, atol=1e-2))
