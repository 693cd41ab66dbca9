"""The figures by which the fashion weights are judged: pictures of what was asked for, as varied as real ones."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bnsbench.models.class_judge import share_right
from bnsbench.models.fashion.data import pictures
from bnsbench.models.fashion.features import fashion_classifier, fashion_features
from bnsbench.models.fashion.model import FashionModel, fashion, shipped_pictures
from bnsbench.models.weights import WEIGHTS
from bnsbench.solvers.runge_kutta import euler, midpoint
from bnsbench.truth.ground_truth import solve
from bnsbench.truth.noise import noise
from bnsbench.truth.psnr import psnr_per_sample

SAMPLES = {0.0: 1000, 2.0: 500}
"""By guidance scale; the distance to real pictures is measured without guidance, which makes samples alike."""
TOLERANCE = 1e-4
BATCH = 100


def measure_classifier(folder: Path = WEIGHTS) -> dict[str, float]:
    """Return the classifier's accuracy on the shipped pictures."""
    return {"accuracy": share_right(fashion_classifier(folder), *shipped_pictures())}


def measure_generator(variant: str, folder: Path = WEIGHTS) -> dict[str, float]:
    """Return accuracy by the shipped classifier, PSNR of two classics, and distances to real pictures.

    ``fid`` is the Frechet distance in the classifier's features between 1000 ground-truth samples and 1000 real pictures,
    ``fid_floor`` that of 1000 other real pictures, and ``fid_share`` the floor over the distance: 1 if nothing tells samples
    from real pictures.
    """
    model = fashion(variant, folder)
    figures: dict[str, float] = {}
    for guidance, count in SAMPLES.items():
        truth, labels, decibels = _samples(model, guidance, count)
        figures[f"accuracy_w{guidance:g}"] = share_right(fashion_classifier(), truth, labels)
        figures.update({f"{name}_db_w{guidance:g}": value for name, value in decibels.items()})
        if guidance == 0:
            figures.update(_distances(truth))
    return figures


def _samples(model: FashionModel, guidance: float, count: int) -> tuple[Tensor, Tensor, dict[str, float]]:
    """Return ground-truth samples, their labels, and the mean PSNR of two classics at 8 NFE."""
    x0 = noise(0, "fashion-gate", "validation", range(count), model.shape).float()
    labels = torch.arange(count) % model.classes
    truths, decibels = [], []
    for part in torch.split(torch.arange(count), BATCH):
        field = model.field(labels[part], guidance)
        truth, _ = solve(field, x0[part], TOLERANCE)
        with torch.no_grad():
            ends = [rule(field, x0[part], 8) for rule in (euler, midpoint)]
        truths.append(truth)
        decibels.append(torch.stack([psnr_per_sample(end, truth, model.data_range) for end in ends]))
    means = torch.cat(decibels, dim=1).mean(dim=1)
    return torch.cat(truths), labels, {"euler8": float(means[0]), "midpoint8": float(means[1])}


def _distances(samples: Tensor) -> dict[str, float]:
    real, _ = shipped_pictures()
    reference, others = real[: len(samples)], real[len(samples) : 2 * len(samples)]
    seen = pictures(((samples.clamp(-1.0, 1.0) + 1.0) * 127.5).round())
    found, floor = (frechet_distance(images, reference) for images in (seen, others))
    return {"fid": found, "fid_floor": floor, "fid_share": floor / found}


def frechet_distance(images: Tensor, others: Tensor) -> float:
    """Return the Frechet distance of two sets of pictures in the features of the shipped classifier."""
    from torch_fidelity.metric_fid import (  # noqa: PLC0415 (not needed where weights are only trained)
        KEY_METRIC_FID,
        fid_features_to_statistics,
        fid_statistics_to_metric,
    )

    statistics = [fid_features_to_statistics(_features(part)) for part in (images, others)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def _features(images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([fashion_features().of_samples(part) for part in torch.split(images, BATCH)]).double()
