"""Feature extractors of metrics: a model's own, or Inception-v3 from a local file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from bnsbench.errors import NotApplicableError, UsageError, one_line
from bnsbench.flows.features import SampleFeatures
from bnsbench.flows.model import Model
from bnsbench.metrics.contents import content_hash
from bnsbench.storage.names import is_file
from bnsbench.storage.weights import WeightsError, read_weights

INCEPTION = "inception-v3-compat"
EXTRACTION_BATCH = 256

Use = Literal["features", "logits"]


def to_uint8(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as uint8, clamped and rounded: the one rule by which all images reach an extractor."""
    exact = images.to(torch.promote_types(images.dtype, torch.float32))  # bfloat16 would round on the way
    return ((exact.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)


@dataclass(frozen=True)
class Extractor:
    """A network whose first output are the features or logits that a metric uses, such as a torch-fidelity extractor.

    width: their number. fingerprint: hash of the weights.
    """

    network: nn.Module
    width: int
    fingerprint: str

    def features(self, samples: Tensor) -> Tensor:
        """Return the features [n, width] of uint8 images, or of other samples as they are, on the CPU.

        The network sees batches of one fixed size.
        """
        self.network.to(samples.device)
        with torch.no_grad():
            found = torch.cat([self.network(part)[0].cpu() for part in torch.split(samples, EXTRACTION_BATCH)])
        return found.to(torch.promote_types(found.dtype, torch.float32))


def extractor_for(model: Model, shape: tuple[int, ...], weights: str = "", use: Use = "features") -> Extractor:
    """Return the extractor for the samples of a model: its own, or Inception-v3 for RGB images.

    Nothing is ever downloaded.

    Args:
        model: whose samples are to be compared.
        shape: of one decoded sample, of images [C, H, W].
        weights: path of torch-fidelity's Inception-v3 file, which takes precedence for RGB images; a state dict of
            `torch.save` or safetensors, read as tensors only.
        use: features for distances, or logits of classes.

    Raises:
        NotApplicableError: The samples are sound, or the model brings no features and there are no weights for its samples,
            or its features come without logits.
        UsageError: The path is no file.
    """
    rgb = len(shape) == 3 and shape[0] == 3
    own = model.features()
    if own is not None and model.sample_rate is None and not (weights and rgb):
        return own_extractor(own, use)
    if model.sample_rate is not None:
        raise NotApplicableError("Sounds have no feature extractor among those of images: compare them by fad or fad-gt.")
    if not rgb:
        raise NotApplicableError(
            f"Samples of shape {shape} have no feature extractor: their model brings none, and they are no RGB images."
        )
    if not weights:
        raise NotApplicableError("Features of RGB images need Inception-v3's weights for torch-fidelity: give weights=PATH.")
    if not is_file(weights):
        raise UsageError(f"There is no Inception-v3 weights file {weights}.")
    return _inception(weights, use, content_hash(Path(weights), (Path(weights),)))


def own_extractor(own: SampleFeatures, use: Use = "features") -> Extractor:
    """Return the model's own extractor; NotApplicableError for logits that it does not have."""
    if use == "logits" and not own.classes:
        raise NotApplicableError(f"The feature extractor {own.name} knows no classes of samples.")
    return Extractor(_Own(own, use), own.classes if use == "logits" else own.width, own.fingerprint())


class _Own(nn.Module):
    """A model's own features, of images from their levels; they move to the samples' device themselves."""

    def __init__(self, own: SampleFeatures, use: Use) -> None:
        super().__init__()
        self.extract = own.logits if use == "logits" else own.of_samples

    def forward(self, samples: Tensor) -> tuple[Tensor]:
        return (self.extract(samples.float() / 127.5 - 1.0 if samples.dtype == torch.uint8 else samples.float()),)


INCEPTION_LAYERS = {"features": ("2048", 2048), "logits": ("logits_unbiased", 1008)}
"""By use: torch-fidelity's name of the layer, and its width."""


@lru_cache(maxsize=2)
def _inception(weights: str, use: Use, fingerprint: str) -> Extractor:
    layer, width = INCEPTION_LAYERS[use]
    try:
        network = _loaded(layer, read_weights(Path(weights)))
    except (OSError, RuntimeError, WeightsError) as error:
        reason = one_line(error)
        raise UsageError(f"The file {weights} does not hold Inception-v3's weights for torch-fidelity: {reason}.") from error
    return Extractor(network, width, fingerprint)


def _loaded(layer: str, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return torch-fidelity's network with these weights; RuntimeError if they are not its own."""
    # torch-fidelity unpickles the file that it is given, so it gets one in memory that holds what has been read already.
    file = io.BytesIO()
    torch.save(dict(tensors), file)
    file.seek(0)
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # noqa: PLC0415 (slow to import)

    with torch.random.fork_rng(devices=()):  # initial weights are drawn, and thrown away
        network: nn.Module = FeatureExtractorInceptionV3(INCEPTION, [layer], feature_extractor_weights_path=file)
    return network.eval()
