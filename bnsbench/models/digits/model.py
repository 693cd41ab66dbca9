"""Class-conditional digits: one small network, trained with three paths and three prediction types."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Self

import torch
from torch import Tensor, nn

from bnsbench.errors import UsageError
from bnsbench.flows.model import Reference
from bnsbench.flows.paths import VP, CondOT, Cosine, Path
from bnsbench.flows.predictions import Prediction
from bnsbench.models.class_conditional import ClassConditionalModel
from bnsbench.models.digits.data import CLASSES, SHAPE, load_digits
from bnsbench.models.digits.features import DigitFeatures, digit_features
from bnsbench.models.digits.judge import DigitJudge, digit_judge
from bnsbench.models.digits.network import ResidualMLP
from bnsbench.models.weights import WEIGHTS, load_network, weights_fingerprint

DIM = 64
LOG_SNR_SCALE = 5.0


@dataclass(frozen=True)
class Variant:
    """The setting of one digits network: its path, its prediction type, the end of its times, and the clock that it gets."""

    path: Path
    prediction: Prediction
    end: float = 1.0
    reads_log_snr: bool = False

    def clock(self, t: Tensor) -> Tensor:
        """Return the network's input for time t, about -1 at noise and 1 at data, in float64."""
        if self.reads_log_snr:
            return self.path.log_snr(t) / LOG_SNR_SCALE
        return 2.0 * t.to(torch.float64) - 1.0


VARIANTS = {
    "ot": Variant(CondOT(), "velocity"),
    "cos": Variant(Cosine(), "v"),
    "vp": Variant(VP(), "epsilon", end=1.0 - 1e-3, reads_log_snr=True),
}


class DigitsModel(ClassConditionalModel):
    """A class-conditional generator of 8x8 digits; conditions are int64 labels [batch], 10 standing for "no condition".

    Args:
        network: The network with its weights, which is frozen.
        variant: How it was trained.
        fingerprint: From `variant_fingerprint`.
    """

    shape = SHAPE
    classes = CLASSES

    def __init__(self, network: ResidualMLP, variant: Variant, fingerprint: str) -> None:
        self.network = network.eval().requires_grad_(False)
        self.variant = variant
        self.path = variant.path
        self.prediction = variant.prediction
        self.interval = (0.0, variant.end)
        self._fingerprint = fingerprint

    def predict(self, t: Tensor, x: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            condition = torch.full((len(x),), CLASSES, device=x.device)
        clock = self.variant.clock(t).to(dtype=x.dtype, device=x.device)
        prediction: Tensor = self.network(clock, x.flatten(1), condition.to(x.device))
        return prediction.reshape(x.shape)

    def networks(self) -> tuple[nn.Module, ...]:
        return (self.network,)

    def reference(self) -> Reference:
        return Reference(*load_digits())

    def features(self) -> DigitFeatures:
        return digit_features()

    def judge(self) -> DigitJudge:
        return digit_judge()

    def fingerprint(self) -> str:
        return self._fingerprint

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        self.network.to(device=device, dtype=dtype)
        return super().to(device, dtype)


def digits(variant: str = "ot", folder: FilePath = WEIGHTS) -> DigitsModel:
    """Return the shipped digits network: "ot" (velocity on CondOT), "cos" (v on Cosine) or "vp" (epsilon on VP).

    Raises:
        UsageError: If there is no such variant.
        CorruptFileError: If the weights do not match their recorded hash.
    """
    if variant not in VARIANTS:
        raise UsageError(f"There is no digits variant {variant!r}; choose from {', '.join(VARIANTS)}.")
    name = f"digits-{variant}"
    network = load_network(lambda: ResidualMLP(DIM, CLASSES), name, folder)
    return DigitsModel(network, VARIANTS[variant], variant_fingerprint(VARIANTS[variant], weights_fingerprint(name, folder)))


def digits_ot() -> DigitsModel:
    """Return the digits network that predicts the velocity on the CondOT path."""
    return digits("ot")


def digits_cos() -> DigitsModel:
    """Return the digits network that predicts v on the cosine path."""
    return digits("cos")


def digits_vp() -> DigitsModel:
    """Return the digits network that predicts epsilon on the VP path, which it leaves at 1 - 1e-3."""
    return digits("vp")


def variant_fingerprint(variant: Variant, weights: str) -> str:
    """Return the hash of the weights' hash, the path, the prediction type, the interval and the clock."""
    facts = [weights, variant.path.to_dict(), variant.prediction, variant.end, variant.reads_log_snr]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
