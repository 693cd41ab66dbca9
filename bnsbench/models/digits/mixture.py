"""Digits as an exact model: a Gaussian mixture fitted to them."""

from __future__ import annotations

from pathlib import Path

import torch

from bnsbench.models.class_judge import ClassJudge
from bnsbench.models.digits.data import CLASSES, SHAPE
from bnsbench.models.digits.features import digit_features
from bnsbench.models.digits.judge import digit_judge
from bnsbench.models.image_features import ClassFeatures
from bnsbench.models.mixtures import Mixture, MixtureModel, mixture_path
from bnsbench.models.weights import WEIGHTS, load_weights


class DigitMixture(MixtureModel):
    """A mixture of digits, with the same features and judge as the digit networks."""

    def features(self) -> ClassFeatures:
        return digit_features()

    def judge(self) -> ClassJudge:
        return digit_judge()


def digits_gmm(path: str = "condot", folder: Path = WEIGHTS) -> DigitMixture:
    """Return the digits as 10 classes of three full-covariance Gaussians in 64 dimensions, fitted on real digits.

    path as `mixture_path` reads it, which raises UsageError for an unknown one.
    """
    fitted = {name: tensor.to(torch.float64) for name, tensor in load_weights("digits-gmm", folder).items()}
    weights = fitted["weights"] / fitted["weights"].sum()
    mixture = Mixture(weights, fitted["means"], fitted["factors"].tril(), len(weights) // CLASSES)
    made, (begin, end) = mixture_path(path)
    return DigitMixture(mixture, made, SHAPE, end, begin)
