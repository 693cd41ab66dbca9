"""The training of the speech weights: the generator and the recogniser, on a corpus that espeak-ng speaks, and the clips."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.progress import track
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy, mse_loss

from bnsbench.models.layers import hidden_matrices
from bnsbench.models.learning import Learner
from bnsbench.models.recipe import SEED, Course, Recipe, Trained, Training, gradient_training, no_figures, seeded
from bnsbench.models.shipped import Shipment
from bnsbench.models.speech.audio import FRAMES
from bnsbench.models.speech.corpus import ONSET, Clips, make_corpus, split_corpus
from bnsbench.models.speech.data import ANY_VOICE, SPELLINGS, VOICES, WORDS
from bnsbench.models.speech.features import CLASSIFIER
from bnsbench.models.speech.figures import measure_classifier, measure_generator
from bnsbench.models.speech.model import CLIPS, NAME
from bnsbench.models.speech.network import SpeechNetwork, WordClassifier

BATCH = 48
CONDITION_DROP = 0.12
CLASSIFIER_BATCH = 96
THUMBNAIL_WEIGHT = 1.0
SHIPPED_CLIPS = 48
LARGEST_SHIFT = 4
CORPUS = "speech-corpus.pt"


def generator_learner(clips: Clips, steps: int) -> Learner[SpeechNetwork]:
    """Return the learner of the generator."""
    network = seeded(SpeechNetwork)
    loss = partial(velocity_loss, clips=clips)
    return Learner(network, loss, steps, rate=2e-3, seed=SEED, matrices=hidden_matrices(network))


def classifier_learner(clips: Clips, steps: int) -> Learner[WordClassifier]:
    """Return the learner of the recogniser."""
    return Learner(seeded(WordClassifier), partial(recognition_loss, clips=clips), steps, rate=3e-3, seed=SEED)


def velocity_loss(network: SpeechNetwork, generator: torch.Generator, *, clips: Clips) -> Tensor:
    """Return the mean squared error of the velocity x_1 - x_0 at stratified uniform times.

    Half of the clips are to be spoken from nothing, of the others a random part is to be filled in (after Le et al. 2023).

    Args:
        network: The network in training.
        generator: Of the batch, the noise, the times, the parts and the dropped conditions.
        clips: The training clips.
    """
    x1, words, voices, ends = _batch(clips, BATCH, generator)
    made = _spans(ends, generator)
    x0 = torch.randn(x1.shape, generator=generator)
    t = (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
    dropped = torch.rand(BATCH, generator=generator) < CONDITION_DROP
    made = made | dropped[:, None]
    letters = SPELLINGS[words].masked_fill(dropped[:, None], 0)
    given = x1.masked_fill(made[:, None], 0.0)
    xt = torch.lerp(x0, x1, t[:, None, None])
    velocity = network(2.0 * t - 1.0, xt, letters, voices.masked_fill(dropped, ANY_VOICE), given, ~made)
    return mse_loss(velocity, x1 - x0)


def recognition_loss(network: WordClassifier, generator: torch.Generator, *, clips: Clips) -> Tensor:
    """Return cross-entropies of word and voice plus the weighted error of the thumbnail, all from the features.

    Args:
        network: The classifier in training.
        generator: Of the batch and the noise on it.
        clips: The training clips.
    """
    x1, words, voices, _ = _batch(clips, CLASSIFIER_BATCH, generator)
    features = network.features(x1 + 0.1 * torch.randn(x1.shape, generator=generator))
    thumbnails = avg_pool2d(x1, FRAMES // network.thumbnail).flatten(1)
    spoken = cross_entropy(network.words(features), words) + cross_entropy(network.voices(features), voices)
    return spoken + THUMBNAIL_WEIGHT * mse_loss(network.decoder(features), thumbnails)


def _batch(clips: Clips, size: int, generator: torch.Generator) -> Clips:
    """Return random clips in float32."""
    chosen = clips.part(torch.randint(0, len(clips.words), (size,), generator=generator))
    return chosen._replace(latents=chosen.latents.float())


def _spans(ends: Tensor, generator: torch.Generator) -> Tensor:
    """Return which frames [n, 64] are to be made up: all of them for every other clip, else 30 to 100 % of the word."""
    share = 0.3 + 0.7 * torch.rand(len(ends), generator=generator)
    length = ((ends - ONSET) * share).round()
    start = ONSET + (ends - ONSET - length) * torch.rand(len(ends), generator=generator)
    frames = torch.arange(FRAMES)
    inside = (frames >= start.round()[:, None]) & (frames < (start.round() + length)[:, None])
    return inside | (torch.arange(len(ends)) % 2 == 0)[:, None]


def _on_the_corpus(name: str, make: Callable[[Clips, int], Learner[SpeechNetwork] | Learner[WordClassifier]]) -> Training:
    """Return a training on the clips that are not held out; the corpus is kept beside the checkpoint."""

    def train(course: Course, checkpoint: Path) -> Trained:
        kept, _ = split_corpus(_corpus(checkpoint, course.progress))
        return gradient_training(name, partial(make, kept))(course, checkpoint)

    return train


def _choose_clips(course: Course, checkpoint: Path) -> Trained:
    """Return held-out clips, every word twice, in voices that take turns."""
    _, held = split_corpus(_corpus(checkpoint, course.progress))
    number = torch.arange(SHIPPED_CLIPS)
    words, voices = number % len(WORDS), (number * 3 + number // len(WORDS)) % len(VOICES)
    matches = (held.words == words[:, None]) & (held.voices == voices[:, None])
    return Trained(held.part(matches.long().argmax(dim=1))._asdict(), {"steps": course.steps})


def _corpus(checkpoint: Path, progress: bool) -> Clips:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    shown = partial(track, description="espeak-ng speaks the corpus", disable=not progress)
    return make_corpus(checkpoint.with_name(CORPUS), shown)


RECIPES = {
    NAME: Recipe(
        7000,
        _on_the_corpus(NAME, generator_learner),
        measure_generator,
        {"word_accuracy_w1": 0.85, "infill_word_accuracy": 0.95},
    ),
    CLASSIFIER: Recipe(1500, _on_the_corpus(CLASSIFIER, classifier_learner), measure_classifier, {"word_accuracy": 0.99}),
    CLIPS: Recipe(1, _choose_clips, no_figures, {}, timed=False),
}
"""The recipes of the speech weights, by name."""

SHIPMENTS = (*(Shipment(NAME, guidance) for guidance in (0.0, 2.0)), Shipment(f"{NAME}[task=infill]", 0.0))
"""For which the package ships solvers of the speech."""
