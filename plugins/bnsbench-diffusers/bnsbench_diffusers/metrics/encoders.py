"""Two networks into one space: texts with images (CLIP), texts with sounds (CLAP)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torchaudio.functional import resample

from bnsbench.plugin import seeded_random_states, to_uint8
from bnsbench_diffusers.metrics.checkpoints import Checkpoint

BATCH = 64
"""Samples that a network gets at once, whatever the number of samples."""


class Encoder(ABC):
    """Embeddings [n, width] of unit length, in float32, computed in batches of a fixed size on the samples' device."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.network, self.processor = checkpoint.network, checkpoint.processor
        self.fingerprint = checkpoint.fingerprint
        self.width = int(self.network.config.projection_dim)

    @property
    @abstractmethod
    def longest(self) -> int:
        """The most tokens of a text that the network takes."""

    @abstractmethod
    def embed(self, part: Tensor) -> Tensor:
        """Return the embeddings of a batch of samples, of whatever length."""

    @torch.no_grad()
    def samples(self, samples: Tensor) -> Tensor:
        """Return the embeddings of samples."""
        self.network.to(samples.device)
        return torch.cat([normalize(self.embed(part)) for part in torch.split(samples, BATCH)])

    @torch.no_grad()
    def texts(self, texts: Sequence[str], device: torch.device) -> Tensor:
        """Return the embeddings of texts, each cut to the tokens that the network takes."""
        self.network.to(device)
        # Suites ask for few texts again and again.
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        unlike = list(rows)
        parts = [self._told(unlike[start : start + BATCH], device) for start in range(0, len(unlike), BATCH)]
        return torch.cat(parts)[torch.tensor([rows[text] for text in texts], device=device)]

    def _told(self, texts: list[str], device: torch.device) -> Tensor:
        limit = min(self.longest, self.processor.tokenizer.model_max_length)
        tokens = self.processor.tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        found = self.network.get_text_features(tokens["input_ids"].to(device), tokens["attention_mask"].to(device))
        return normalize(pooled(found))


class ClipEncoder(Encoder):
    """CLIP (Radford et al. 2021), of images [n, 3, H, W] in [-1, 1], rounded to bytes as image files are."""

    @property
    def longest(self) -> int:
        return int(self.network.config.text_config.max_position_embeddings)

    def embed(self, part: Tensor) -> Tensor:
        images = list(to_uint8(part).cpu())
        pixels = self.processor.image_processor(images, input_data_format="channels_first", return_tensors="pt")
        return pooled(self.network.get_image_features(pixels["pixel_values"].to(part.device, torch.float32)))


class ClapEncoder(Encoder):
    """CLAP (Wu et al. 2023), of mono waveforms [n, samples] at ``rate`` Hz, resampled to the network's own.

    Of longer clips than the network takes it hears the parts that its feature extractor draws: here the same for every clip.
    """

    def __init__(self, checkpoint: Checkpoint, rate: int) -> None:
        super().__init__(checkpoint)
        self.rate = rate

    @property
    def longest(self) -> int:
        # RoBERTa counts positions from the one behind that of the padding.
        config = self.network.config.text_config
        return int(config.max_position_embeddings - config.pad_token_id - 1)

    def embed(self, part: Tensor) -> Tensor:
        heard = resample(part.cpu().float(), self.rate, self.processor.feature_extractor.sampling_rate)
        spectra, longer = zip(*map(self._spectrum, heard), strict=True)
        inputs = torch.cat(spectra).to(part.device, torch.float32), torch.cat(longer).to(part.device)
        return pooled(self.network.get_audio_features(*inputs))

    def _spectrum(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the feature extractor makes of one clip [samples], and whether it is longer than the network takes."""
        extractor = self.processor.feature_extractor
        with seeded_random_states(0):
            found = extractor(clip.numpy(), sampling_rate=extractor.sampling_rate, return_tensors="pt")
        # It calls one clip of every batch longer even if none is, which training needed and which would depend on the batch.
        longer = found["is_longer"] & (len(clip) > extractor.nb_max_samples)
        return found["input_features"], longer


def pooled(found: Any) -> Tensor:
    """Return the embeddings in what a network returns: themselves, or the last field of newer versions of transformers."""
    embeddings: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return embeddings
