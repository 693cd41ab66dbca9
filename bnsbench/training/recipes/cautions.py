"""Starts that a user may choose and that are known to end low: told when they are chosen, by properties of the field."""

from __future__ import annotations

import math

import torch

from bnsbench.flows.model import Model
from bnsbench.training.problem import FEW_DIMENSIONS

TIMES = 9
"""Times at which a path is looked at."""


def cautions_about(init: str, sigma_0: float, model: Model, guidance: float | tuple[float, ...]) -> list[str]:
    """Return a sentence for everything that is known to be bad about a start.

    Measured with the default trainer without guidance (mean PSNR in dB on validation pairs):
        model, NFE                 default   euler   midpoint   unipc   euler, sigma_0 = 5
        ring8, 4                      67.9    45.5       69.3    54.2                 60.8
        ring8[path=vp], 4             65.3    44.3       44.3    49.9                 23.4
        aniso5, 4                     61.0    51.3       41.6    40.0                 50.8
        aniso5[path=vp], 4            54.2    27.8       27.8    28.0                 40.8
        digits-gmm[path=vp], 8        76.4               76.4    76.4                 53.4
        digits-vp, 4                  34.9               34.9    34.9                 30.2
        digits-ot, 4                  37.8               37.8    37.8                 37.8
    With many numbers in a sample a classic start may do as well; before trainings chose their numbers on one path, it did
    not on VP.

    Args:
        init: a classic solver's selector; "greedy" and files are no classic starts, and of them nothing is known.
        sigma_0: of its preconditioning.
        model: whose path matters.
        guidance: the scale w, or all of them.
    """
    if not init or init == "greedy" or init.endswith(".json"):
        return []
    found = []
    few = math.prod(model.shape) <= FEW_DIMENSIONS
    if few or not is_straight(model):
        where = f"these are {math.prod(model.shape)} dimensions" if few else f"the path {model.path.name!r} is not straight"
        found.append(
            f"The start {init!r} is a classic solver, and {where}: trainings from there have ended up to 25 dB below the"
            " default start, above all in few dimensions; leave init out."
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
