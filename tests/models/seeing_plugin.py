"""A plugin's model that brings its own features and judge: blobs of 2x2 pixels in two classes."""

from __future__ import annotations

import hashlib

import torch

from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import ModelSpec
from bnsbench.flows.features import SampleFeatures
from bnsbench.flows.judge import ConditionJudge
from bnsbench.flows.model import check_details
from bnsbench.flows.paths import CondOT
from bnsbench.models.mixtures import Mixture, MixtureModel

MEANS = torch.tensor([[0.8, 0.2, -0.4, 0.1], [-0.6, -0.5, 0.2, 0.6]], dtype=torch.float64)


@hookimpl
def bnsbench_models():
    yield ModelSpec("blobs", ":Blobs", "Blobs of two classes, with features and a judge.", guidable=True)


class Contrasts(SampleFeatures):
    """Brightness and two contrasts, squashed, so that large values count less."""

    name = "contrasts"
    width = 3

    def of_samples(self, samples):
        patterns = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])
        return (samples.flatten(1) @ patterns.T.to(samples)).tanh()

    def fingerprint(self):
        return hashlib.sha256(b"contrasts").hexdigest()


class Nearest(ConditionJudge):
    """Says which class's mean is nearer."""

    asks = "class"

    def found(self, shown, condition):
        return (torch.cdist(shown.flatten(1), MEANS.float()).argmin(1) == condition)[:, None]

    def fingerprint(self):
        return hashlib.sha256(b"nearest").hexdigest()


class Blobs(MixtureModel):
    """Two classes of one Gaussian each."""

    def __init__(self):
        factors = 0.3 * torch.eye(4, dtype=torch.float64).expand(2, 4, 4)
        weights = torch.full((2,), 0.5, dtype=torch.float64)
        super().__init__(Mixture(weights, MEANS, factors, per_class=1), CondOT(), (1, 2, 2))

    def features(self):
        return Contrasts()

    def judge(self):
        return Nearest()

    def describe(self, text, **details):
        check_details(details)
        return torch.tensor(["first", "second"].index(text))
