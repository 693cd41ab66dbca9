"""The figures by which the digits weights are judged: readable samples, no copies of the data, an accurate classifier."""

from __future__ import annotations

from pathlib import Path

import torch

from bnsbench.models.class_judge import share_right
from bnsbench.models.copying import nearest_ratio
from bnsbench.models.digits.data import CLASSES, split_digits
from bnsbench.models.digits.features import digit_classifier
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.models.digits.model import digits
from bnsbench.models.weights import WEIGHTS
from bnsbench.solvers.runge_kutta import euler, midpoint
from bnsbench.truth.ground_truth import solve
from bnsbench.truth.noise import noise
from bnsbench.truth.psnr import psnr_per_sample

SAMPLES = 500
TOLERANCE = 1e-5


def measure_classifier(folder: Path = WEIGHTS) -> dict[str, float]:
    """Return the classifier's accuracy on held-out digits."""
    _, held = split_digits()
    return {"accuracy": share_right(digit_classifier(folder), *held)}


def measure_mixture(folder: Path = WEIGHTS) -> dict[str, float]:
    """Return the share of the mixture's draws that the shipped classifier reads right."""
    model = digits_gmm(folder=folder)
    labels = torch.arange(SAMPLES) % CLASSES
    draws = model.mixture.sample(labels, SAMPLES, torch.Generator().manual_seed(0))
    return {"accuracy": share_right(digit_classifier(), draws.reshape(-1, *model.shape), labels)}


def measure_generator(variant: str, folder: Path = WEIGHTS) -> dict[str, float]:
    """Return accuracy by the shipped classifier, PSNR of two classics and the ratio against copying."""
    model = digits(variant, folder)
    figures: dict[str, float] = {}
    x0 = noise(0, "digits-gate", "validation", range(SAMPLES), model.shape).float()
    labels = torch.arange(SAMPLES) % CLASSES
    for guidance in (0, 2):
        field = model.field(labels, guidance)
        truth, _ = solve(field, x0, TOLERANCE)
        figures[f"accuracy_w{guidance}"] = share_right(digit_classifier(), truth, labels)
        for nfe in (4, 8, 16):
            for rule in (euler, midpoint):
                with torch.no_grad():
                    samples = rule(field, x0, nfe)
                decibels = psnr_per_sample(samples, truth, model.data_range)
                figures[f"{rule.__name__}{nfe}_db_w{guidance}"] = float(decibels.mean())
        if guidance == 0:
            kept, held = split_digits()
            figures["nearest_ratio"] = nearest_ratio(truth, kept.images, held.images)
    return figures
