"""Class-conditional digits: one small network, trained with three paths and three prediction types."""

from __future__ import annotations

from pathlib import Path as FilePath

from bnsbench.errors import UsageError
from bnsbench.flows.model import Reference
from bnsbench.flows.paths import VP, CondOT, Cosine
from bnsbench.models.class_conditional import NetworkModel
from bnsbench.models.class_judge import ClassJudge
from bnsbench.models.digits.data import CLASSES, SHAPE, load_digits
from bnsbench.models.digits.features import digit_features
from bnsbench.models.digits.judge import digit_judge
from bnsbench.models.digits.network import ResidualMLP
from bnsbench.models.image_features import ClassFeatures
from bnsbench.models.variants import Variant, variant_fingerprint
from bnsbench.models.weights import WEIGHTS, load_network, weights_fingerprint

DIM = 64

VARIANTS = {
    "ot": Variant(CondOT(), "velocity"),
    "cos": Variant(Cosine(), "v"),
    "vp": Variant(VP(), "epsilon", end=1.0 - 1e-3, reads_log_snr=True),
}


class DigitsModel(NetworkModel):
    """A class-conditional generator of 8x8 digits; conditions are int64 labels [batch], 10 standing for "no condition"."""

    shape = SHAPE
    classes = CLASSES

    def reference(self) -> Reference:
        return Reference(*load_digits())

    def features(self) -> ClassFeatures:
        return digit_features()

    def judge(self) -> ClassJudge:
        return digit_judge()


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
