"""The figures by which the fashion weights are judged: pictures of what was asked for, as varied as real ones."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from bnsbench.models.class_judge import share_right
from bnsbench.models.copying import nearest_ratio
from bnsbench.models.fashion.data import TRAINING, load_fashion, pictures
from bnsbench.models.fashion.features import fashion_classifier, fashion_features
from bnsbench.models.fashion.model import FashionModel, fashion, shipped_pictures
from bnsbench.models.weights import WEIGHTS
from bnsbench.truth.ground_truth import solve
from bnsbench.truth.noise import noise

SAMPLES = {0.0: 1000, 2.0: 200}
"""By guidance scale; the distance to real pictures is measured without guidance, which makes samples alike."""
COPYING_SAMPLES = 200
"""Samples, and pictures of the test part, of which each looks for its nearest among the 60,000 training pictures."""
TOLERANCE = 1e-3
BATCH = 100


def measure_classifier(folder: Path = WEIGHTS) -> dict[str, float]:
    """Return the classifier's accuracy on the shipped pictures."""
    return {"accuracy": share_right(fashion_classifier(folder), *shipped_pictures())}


def measure_generator(variant: str, folder: Path = WEIGHTS) -> dict[str, float]:
    """Return accuracy by the shipped classifier, and distances to real pictures.

    ``fid`` is the Frechet distance in the classifier's features between 1000 ground-truth samples and 1000 real pictures,
    ``fid_floor`` that of 1000 other real pictures, and ``fid_share`` the floor over the distance: 1 if nothing tells samples
    from real pictures.
    """
    model = fashion(variant, folder)
    figures: dict[str, float] = {}
    for guidance, count in SAMPLES.items():
        samples, labels = _samples(model, guidance, count)
        figures[f"accuracy_w{guidance:g}"] = share_right(fashion_classifier(), samples, labels)
        if guidance == 0:
            figures.update(_distances(samples))
    return figures


def measure_copying(variant: str, folder: Path, data: Path) -> dict[str, float]:
    """Return the `nearest_ratio` of ground-truth samples without guidance.

    Args:
        variant: "ot" or "vp".
        folder: Of the weights.
        data: Of the files of Fashion-MNIST, for its training part; the held-out pictures are shipped ones.

    Raises:
        UsageError: If a file of the data set is missing.
        CorruptFileError: If one is damaged, or the weights are.
    """
    training = load_fashion(TRAINING, data)
    samples, _ = _samples(fashion(variant, folder), 0.0, COPYING_SAMPLES)
    held, _ = shipped_pictures()
    return {"nearest_ratio": nearest_ratio(_seen(samples), pictures(training.levels), held[:COPYING_SAMPLES])}


def _samples(model: FashionModel, guidance: float, count: int) -> tuple[Tensor, Tensor]:
    """Return ground-truth samples and their labels, whose classes take turns."""
    x0 = noise(0, "fashion-gate", "validation", range(count), model.shape).float()
    labels = torch.arange(count) % model.classes
    parts = torch.split(torch.arange(count), BATCH)
    return torch.cat([solve(model.field(labels[part], guidance), x0[part], TOLERANCE)[0] for part in parts]), labels


def _distances(samples: Tensor) -> dict[str, float]:
    real, _ = shipped_pictures()
    reference, others = real[: len(samples)], real[len(samples) : 2 * len(samples)]
    found, floor = (frechet_distance(images, reference) for images in (_seen(samples), others))
    return {"fid": found, "fid_floor": floor, "fid_share": floor / found}


def _seen(samples: Tensor) -> Tensor:
    """Return samples as pictures of 256 levels."""
    return pictures(((samples.clamp(-1.0, 1.0) + 1.0) * 127.5).round())


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
