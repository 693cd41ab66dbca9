"""What the shipped weights must fulfil, measured: readable samples, no copies of the data, an accurate classifier."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bnsbench.errors import BnsbenchError
from bnsbench.flows.ground_truth import solve
from bnsbench.flows.noise import noise
from bnsbench.flows.psnr import psnr_per_sample
from bnsbench.models.digits import DigitsModel, digit_classifier, digits
from bnsbench.models.digits_data import CLASSES, split_digits
from bnsbench.models.mixtures import digits_gmm
from bnsbench.models.weights import WEIGHTS
from bnsbench.solvers.runge_kutta import euler, midpoint

SAMPLES = 500
TOLERANCE = 1e-5
GATES = {
    "digits-ot": {"accuracy_w0": 0.90, "accuracy_w2": 0.99, "nearest_ratio": 0.75},
    "digits-cos": {"accuracy_w0": 0.90, "accuracy_w2": 0.99, "nearest_ratio": 0.75},
    "digits-vp": {"accuracy_w0": 0.85, "accuracy_w2": 0.99, "nearest_ratio": 0.75},
    "digits-classifier": {"accuracy": 0.99},
    "digits-gmm": {"accuracy": 0.85},
}
"""Lower bounds of the figures that `measure` returns, for each name."""


def check_gates(name: str, figures: dict[str, float]) -> None:
    """Raise BnsbenchError with the figures that fall below their bounds."""
    missed = [f"{key} {figures[key]:.3f} < {bound:g}" for key, bound in GATES[name].items() if not figures[key] >= bound]
    if missed:
        raise BnsbenchError(f"The weights {name!r} miss their gate: {', '.join(missed)}; train longer or with another seed.")


def measure(name: str, folder: Path = WEIGHTS) -> dict[str, float]:
    """Return the figures of the weights of that name in ``folder``; generators are judged by the shipped classifier."""
    if name == "digits-classifier":
        return _measure_classifier(folder)
    if name == "digits-gmm":
        return _measure_mixture(folder)
    return _measure_generator(digits(name.removeprefix("digits-"), folder))


def _measure_classifier(folder: Path) -> dict[str, float]:
    _, held = split_digits()
    return {"accuracy": _accuracy(*held, folder)}


def _measure_mixture(folder: Path) -> dict[str, float]:
    model = digits_gmm(folder=folder)
    labels = torch.arange(SAMPLES) % CLASSES
    draws = model.mixture.sample(labels, SAMPLES, torch.Generator().manual_seed(0))
    return {"accuracy": _accuracy(draws.reshape(-1, *model.shape), labels, WEIGHTS)}


def _measure_generator(model: DigitsModel) -> dict[str, float]:
    figures: dict[str, float] = {}
    x0 = noise(0, "digits-gate", "validation", range(SAMPLES), model.shape).float()
    labels = model.conditions(torch.arange(SAMPLES))
    for guidance in (0, 2):
        field = model.field(labels, guidance)
        truth, _ = solve(field, x0, TOLERANCE)
        figures[f"accuracy_w{guidance}"] = _accuracy(truth, labels, WEIGHTS)
        for nfe in (4, 8, 16):
            for rule in (euler, midpoint):
                with torch.no_grad():
                    samples = rule(field, x0, nfe)
                decibels = psnr_per_sample(samples, truth, model.data_range)
                figures[f"{rule.__name__}{nfe}_db_w{guidance}"] = float(decibels.mean())
        if guidance == 0:
            figures["nearest_ratio"] = nearest_ratio(truth)
    return figures


def _accuracy(images: Tensor, labels: Tensor, folder: Path) -> float:
    predicted = digit_classifier(folder)(images.float().clamp(-1.0, 1.0)).argmax(dim=-1)
    return float((predicted == labels).float().mean())


def nearest_ratio(samples: Tensor) -> float:
    """Return the samples' mean distance to the nearest training image over that of held-out images.

    Copies of training images would bring it near 0; new digits in new poses reach or exceed 1.
    """
    kept, held = split_digits()

    def distance(images: Tensor) -> Tensor:
        return torch.cdist(images.flatten(1), kept.images.flatten(1)).amin(dim=1).mean()

    return float(distance(samples) / distance(held.images))
