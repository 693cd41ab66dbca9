"""The figures by which the scenes weights are judged: samples that show what their captions say, a reader that is right."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bnsbench.models.scenes.data import attributes, random_scenes
from bnsbench.models.scenes.features import scene_classifier
from bnsbench.models.scenes.model import ScenesModel, scenes
from bnsbench.models.weights import WEIGHTS
from bnsbench.solvers.runge_kutta import euler, midpoint
from bnsbench.truth.ground_truth import solve
from bnsbench.truth.noise import noise
from bnsbench.truth.psnr import psnr_per_sample

SAMPLES = {0.0: 128, 2.0: 512, 6.5: 128}
"""By guidance scale; the gate is at 2."""
HELD_OUT = 10_000
TOLERANCE = 1e-4
BATCH = 128


def measure_classifier(folder: Path = WEIGHTS) -> dict[str, float]:
    """Return the share of fresh scenes of which the classifier reads all attributes right, and of attributes read right."""
    fresh = random_scenes(HELD_OUT, torch.Generator().manual_seed(1))
    return _shares(_right(fresh.images, fresh.tokens, folder))


def measure_generator(folder: Path = WEIGHTS) -> dict[str, float]:
    """Return attributes read right in ground-truth samples and PSNR of two classics, at w = 0, 2 and 6.5."""
    model = scenes(folder)
    figures: dict[str, float] = {}
    for guidance, count in SAMPLES.items():
        found = _measure(model, guidance, count)
        figures.update({f"{name}_w{guidance:g}": value for name, value in found.items()})
    return figures


def _measure(model: ScenesModel, guidance: float, count: int) -> dict[str, float]:
    x0 = noise(0, "scenes-gate", "validation", range(count), model.shape).float()
    tokens = model.conditions(torch.arange(count))
    truths, decibels = [], []
    for part in torch.split(torch.arange(count), BATCH):
        field = model.field(tokens[part], guidance)
        truth, _ = solve(field, x0[part], TOLERANCE)
        truths.append(truth)
        with torch.no_grad():
            ends = [rule(field, x0[part], 8) for rule in (euler, midpoint)]
        decibels.append(torch.stack([psnr_per_sample(end, truth, model.data_range) for end in ends]))
    means = torch.cat(decibels, dim=1).mean(dim=1)
    right = _right(torch.cat(truths), tokens, WEIGHTS)
    return {**_shares(right), "euler8_db": float(means[0]), "midpoint8_db": float(means[1])}


def _right(images: Tensor, tokens: Tensor, folder: Path) -> Tensor:
    """Return whether each attribute [n, 5] is read as the caption has it."""
    classifier = scene_classifier(folder)
    read = torch.cat([classifier.read(part.clamp(-1.0, 1.0)) for part in torch.split(images, BATCH)])
    return read == attributes(tokens)


def _shares(right: Tensor) -> dict[str, float]:
    return {"all_attributes": float(right.all(dim=1).float().mean()), "attributes": float(right.float().mean())}
