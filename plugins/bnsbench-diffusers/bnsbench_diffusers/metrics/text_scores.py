"""How well samples go with the texts that they were asked for: CLIP score, PickScore and CLAP score."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from bnsbench.plugin import (
    SILENCE,
    MetricValue,
    NotApplicableError,
    SampleSet,
    finite,
    is_flat,
    joint_hash,
    mean_of,
    mono,
    require_variation,
    sample_rate,
)
from bnsbench_diffusers.metrics.checkpoints import checkpoint_hash, load_checkpoint, require_place
from bnsbench_diffusers.metrics.encoders import ClapEncoder, ClipEncoder, Encoder
from bnsbench_diffusers.metrics.images import rgb


class TextScore(ABC):
    """The mean over samples of a score that the cosine between a sample's embedding and its text's determines.

    Details: what `PairedMetric` has, the ground truth's own score as ``truth``, and what `further` adds. info: a hash of the
    network and its processor.
    An image or a sound without variation has the score that the network gives it; if none of the samples has any, though
    the ground truth has, they are taken as diverged.
    Raises NotApplicableError for models that read no text and for samples of another kind, DivergedError for samples that
    are not finite.
    """

    worst = 0.05

    @abstractmethod
    def encoder(self, samples: SampleSet) -> Encoder:
        """Return what embeds texts and samples; NotApplicableError for samples of another kind."""

    @abstractmethod
    def seen(self, values: Tensor) -> Tensor:
        """Return samples as the encoder takes them; NotApplicableError for samples of another kind."""

    @abstractmethod
    def scores(self, cosines: Tensor, encoder: Encoder) -> Tensor:
        """Return the scores [n]."""

    def further(self, scores: Tensor, truth: Tensor) -> dict[str, float]:
        """Return further numbers for the record, from the scores [n] of samples and of the ground truth."""
        del scores, truth
        return {}

    def fingerprint(self) -> str:
        """Return a hash of the checkpoints' files."""
        return joint_hash({name: checkpoint_hash(path) for name, path in self.places().items()})

    @abstractmethod
    def places(self) -> dict[str, str]:
        """Return where its checkpoints are, by what they are used for."""

    def __call__(self, samples: SampleSet) -> MetricValue:
        samples.require_finite()
        # What does not apply is said before a network is loaded.
        asked_texts(samples)
        self.seen(samples.part(slice(1)).samples)
        encoder = self.encoder(samples)
        found = [torch.cat(parts) for parts in zip(*(self._cosines(part, encoder) for part in samples.parts()), strict=True)]
        require_variation(*found[2:])
        scores, truth = (self.scores(cosines, encoder).cpu().double() for cosines in found[:2])
        finite(scores[:, None], "samples' scores")
        details = {"truth": float(truth.mean()), **self.further(scores, truth)}
        return mean_of(scores, self.worst, details, {"network": encoder.fingerprint})

    def _cosines(self, part: SampleSet, encoder: Encoder) -> tuple[Tensor, ...]:
        """Return the cosines [n] of a part's samples and of their ground truth with their texts, and which are flat."""
        both = self.seen(part.samples), self.seen(part.truth)
        texts = encoder.texts(asked_texts(part), both[0].device)
        return *((encoder.samples(seen) * texts).sum(dim=1) for seen in both), *map(self.flat, both)

    def flat(self, seen: Tensor) -> Tensor:
        """Return which samples have no variation [n]."""
        return is_flat(seen)


class ClipScore(TextScore):
    """100 max(cos, 0) of CLIP's embeddings of image and text, as torchmetrics has it.

    Hessel et al. 2021 weigh the same cosine by 2.5 in place of 100. path: a CLIP of transformers.
    """

    def __init__(self, path: str = "") -> None:
        require_place("CLIP", path)
        self.path = path

    def places(self) -> dict[str, str]:
        return {"network": self.path}

    def encoder(self, samples: SampleSet) -> Encoder:
        del samples
        return ClipEncoder(load_checkpoint("CLIP", self.path))

    def seen(self, values: Tensor) -> Tensor:
        return rgb(values)

    def scores(self, cosines: Tensor, encoder: Encoder) -> Tensor:
        del encoder
        return 100.0 * cosines.clamp_min(0.0)


class PickScore(ClipScore):
    """What people prefer (Kirstain et al. 2023): the cosine times the network's own scale, as its authors compute it.

    processor: where tokenizer and preprocessing are, if not beside the network. Details: ``win_rate``, the share of samples
    that score above the ground truth of their noise, ties being half.
    """

    def __init__(self, path: str = "", processor: str = "") -> None:
        super().__init__(path)
        if processor:
            require_place("CLIP", processor, "processor")
        self.processor = processor

    def places(self) -> dict[str, str]:
        return {"network": self.path, "processor": self.processor or self.path}

    def encoder(self, samples: SampleSet) -> Encoder:
        del samples
        return ClipEncoder(load_checkpoint("CLIP", self.path, self.processor))

    def scores(self, cosines: Tensor, encoder: Encoder) -> Tensor:
        scale: Tensor = encoder.network.logit_scale.exp()
        return scale * cosines

    def further(self, scores: Tensor, truth: Tensor) -> dict[str, float]:
        wins = (scores > truth).double() + 0.5 * (scores == truth).double()
        return {"win_rate": float(wins.mean())}


class ClapScore(TextScore):
    """100 cos of CLAP's embeddings of sound and text. path: a CLAP of transformers."""

    def __init__(self, path: str = "") -> None:
        require_place("Clap", path)
        self.path = path

    def places(self) -> dict[str, str]:
        return {"network": self.path}

    def flat(self, seen: Tensor) -> Tensor:
        return is_flat(seen, SILENCE)

    def encoder(self, samples: SampleSet) -> Encoder:
        return ClapEncoder(load_checkpoint("Clap", self.path), sample_rate(samples))

    def seen(self, values: Tensor) -> Tensor:
        return mono(values)

    def scores(self, cosines: Tensor, encoder: Encoder) -> Tensor:
        del encoder
        return 100.0 * cosines


def asked_texts(samples: SampleSet) -> list[str]:
    """Return the texts that samples were asked for; NotApplicableError if there is none for each of them."""
    texts = None if samples.condition is None else samples.model.texts(samples.condition)
    if texts is None:
        raise NotApplicableError("The score compares samples with their texts, and these were not asked for by any.")
    if not all(texts):
        raise NotApplicableError("The score needs samples that are all conditioned on a text.")
    return texts
