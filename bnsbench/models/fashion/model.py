"""Class-conditional pictures of clothes: one U-Net, trained with two paths and two prediction types."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from bnsbench.errors import UsageError
from bnsbench.flows.model import Reference, check_details
from bnsbench.flows.paths import VP, CondOT
from bnsbench.models.class_conditional import NetworkModel
from bnsbench.models.class_judge import ClassJudge
from bnsbench.models.fashion.data import CLASSES, KINDS, SHAPE, pictures
from bnsbench.models.fashion.features import fashion_features
from bnsbench.models.fashion.judge import fashion_judge
from bnsbench.models.fashion.network import FashionNetwork
from bnsbench.models.image_features import ClassFeatures
from bnsbench.models.variants import Variant, variant_fingerprint
from bnsbench.models.weights import WEIGHTS, load_network, load_weights, weights_fingerprint

PICTURES = "fashion-pictures"
VARIANTS = {
    "ot": Variant(CondOT(), "velocity"),
    "vp": Variant(VP(), "epsilon", end=1.0 - 1e-3, reads_log_snr=True),
}


class FashionModel(NetworkModel):
    """A class-conditional generator of clothes; conditions are int64 labels [batch], 10 standing for "no condition"."""

    shape = SHAPE
    classes = CLASSES

    def describe(self, text: str, **details: int) -> Tensor:
        check_details(details)
        kinds = [kind.lower() for kind in KINDS]
        if text.lower() not in kinds:
            raise UsageError(f"There is no kind of clothes {text!r}; choose from {', '.join(KINDS)}.")
        return torch.tensor(kinds.index(text.lower()))

    def reference(self) -> Reference:
        return Reference(*shipped_pictures())

    def features(self) -> ClassFeatures:
        return fashion_features()

    def judge(self) -> ClassJudge:
        return fashion_judge()


@lru_cache(maxsize=1)
def shipped_pictures() -> tuple[Tensor, Tensor]:
    """Return the 2,000 shipped pictures, 200 of each class of the test part, which no training has seen, and their labels.

    Classes take turns.
    """
    found = load_weights(PICTURES)
    return pictures(found["levels"]), found["labels"].long()


def fashion(variant: str = "ot", folder: Path = WEIGHTS) -> FashionModel:
    """Return the shipped fashion network: "ot" (velocity on CondOT) or "vp" (epsilon on VP).

    Raises:
        UsageError: If there is no such variant.
        CorruptFileError: If the weights do not match their recorded hash.
    """
    if variant not in VARIANTS:
        raise UsageError(f"There is no fashion variant {variant!r}; choose from {', '.join(VARIANTS)}.")
    name = f"fashion-{variant}"
    network = load_network(FashionNetwork, name, folder)
    fingerprint = variant_fingerprint(VARIANTS[variant], weights_fingerprint(name, folder))
    return FashionModel(network, VARIANTS[variant], fingerprint)


def fashion_ot() -> FashionModel:
    """Return the fashion network that predicts the velocity on the CondOT path."""
    return fashion("ot")


def fashion_vp() -> FashionModel:
    """Return the fashion network that predicts epsilon on the VP path, which it leaves at 1 - 1e-3."""
    return fashion("vp")
