"""Models that are told a text, exact and quick, for metrics to judge: pictures, sounds, and sounds of two channels."""

from __future__ import annotations

import torch

from bnsbench.paths import CondOT
from bnsbench.plugin import Model, ModelSpec, Reference, hookimpl

TEXTS = ("a red fox in the snow", "two boats", "an empty street at night", "a", "zzzz")


@hookimpl
def bnsbench_models():
    for name, modality in (("pictures", "image"), ("sounds", "audio"), ("stereo", "audio"), ("wordless", "image")):
        yield ModelSpec(name, f":{name}", modality=modality)


class Told(Model):
    """Independent Gaussian numbers of deviation 0.3; sample i has the text i modulo their number."""

    path = CondOT()
    deviation = 0.3

    def __init__(self, shape, rate=None):
        self.shape, self.sample_rate = shape, rate

    def predict(self, t, x, condition):
        del condition
        variance = self.deviation**2
        rate = (t * variance - (1 - t)) / (t**2 * variance + (1 - t) ** 2)
        return rate.to(x).reshape(-1, *[1] * len(self.shape)) * x

    def conditions(self, indices):
        return indices % len(TEXTS)

    def texts(self, condition):
        return [TEXTS[number] for number in condition.tolist()]

    def reference(self):
        return Reference(self.deviation * torch.randn(300, *self.shape, generator=torch.Generator().manual_seed(5)))

    def fingerprint(self):
        return "0123456789abcdef"


class Wordless(Told):
    texts = Model.texts


def pictures():
    return Told((3, 32, 32))


def wordless():
    return Wordless((3, 32, 32))


def sounds():
    return Told((500,), 1000)


def stereo():
    return Told((2, 500), 1000)
