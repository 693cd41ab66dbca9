"""torch-fidelity itself, asked about images in memory or in a folder: the oracle of what metrics make of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

from bnsbench.metrics.extractors import to_uint8
from bnsbench.models.digits.features import digit_classifier

if TYPE_CHECKING:

    class FeatureExtractorBase(nn.Module):
        """What is used of torch-fidelity's class, which brings no types."""

        features_list: list[str]

        def __init__(self, name: str, features_list: list[str]) -> None: ...
else:
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

DIGITS = "digits-of-tests"


class Images(Dataset):
    """uint8 images as bare tensors, the only kind of dataset that torch-fidelity accepts."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


class DigitsExtractor(FeatureExtractorBase):
    """The digit classifier as an extractor of torch-fidelity, which opens files as colour images."""

    def __init__(self, name: str, features_list: list[str], **unused: Any) -> None:
        del unused
        super().__init__(name, features_list)
        self.network = digit_classifier()

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        return torch.zeros(1, 1, 8, 8, dtype=torch.uint8)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        grey = (images.float() / 127.5 - 1.0).mean(dim=1, keepdim=True)
        layers = {"features": self.network.features(grey), "logits": self.network(grey)}
        return tuple(layers[name] for name in self.features_list)


if DIGITS not in FEATURE_EXTRACTORS_REGISTRY:
    register_feature_extractor(DIGITS, DigitsExtractor)


def fidelity(images: Tensor, reference: Tensor | str | None = None, **settings: Any) -> dict[str, float]:
    """Return torch-fidelity's numbers for images in [-1, 1], by the digit classifier unless settings name weights."""
    if reference is not None:
        settings["input2"] = reference if isinstance(reference, str) else Images(to_uint8(reference))
    if "feature_extractor_weights_path" not in settings:
        settings["feature_extractor"] = DIGITS
    settings |= {"cuda": False, "cache": False, "save_cpu_ram": True, "verbose": False, "batch_size": 256}
    return calculate_metrics(input1=Images(to_uint8(images)), **settings)
