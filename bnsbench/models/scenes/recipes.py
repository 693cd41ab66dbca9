"""The training of the scenes weights: the text-to-image network and the reader of scenes, on scenes drawn on the fly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy, mse_loss

from bnsbench.models.distillation import Chain, Draw, chain_recipes, from_cpu
from bnsbench.models.layers import hidden_matrices
from bnsbench.models.learning import Learner
from bnsbench.models.recipe import SEED, Course, Recipe, gradient_training, seeded
from bnsbench.models.scenes.data import ATTRIBUTES, SIZE, attributes, random_scenes
from bnsbench.models.scenes.features import CLASSIFIER
from bnsbench.models.scenes.figures import measure_classifier, measure_generator
from bnsbench.models.scenes.model import NAME, scenes
from bnsbench.models.scenes.network import SceneClassifier, ScenesNetwork
from bnsbench.models.shipped import Shipment

BATCH = 32
CAPTION_DROP = 0.12
CLASSIFIER_BATCH = 128
THUMBNAIL_WEIGHT = 5.0
CAPTION_WEIGHT = 0.1
EARLIER = 1.5
"""Exponent by which uniform times are moved towards the noise."""


def generator_learner(steps: int) -> Learner[ScenesNetwork]:
    """Return the learner of the text-to-image network."""
    network = seeded(ScenesNetwork)
    return Learner(network, generator_loss, steps, rate=2e-3, seed=SEED, matrices=hidden_matrices(network))


def classifier_learner(steps: int) -> Learner[SceneClassifier]:
    """Return the learner of the reader of scenes."""
    return Learner(seeded(SceneClassifier), reading_loss, steps, rate=4e-3, seed=SEED)


def generator_loss(network: ScenesNetwork, generator: torch.Generator) -> Tensor:
    """Return the velocity's error on fresh scenes plus, weighted, the error of the text encoder in reading captions.

    Without the latter, a small network takes long to find out that "left of" and "right of" exchange the objects.
    """
    x1, tokens = random_scenes(BATCH, generator)
    velocity = velocity_loss(network, x1, tokens, generator)
    said = torch.split(network.reader(network.text(tokens).mean(dim=1)), list(ATTRIBUTES.values()), dim=1)
    return velocity + CAPTION_WEIGHT * attribute_loss(said, attributes(tokens))


def velocity_loss(network: ScenesNetwork, x1: Tensor, tokens: Tensor, generator: torch.Generator) -> Tensor:
    """Return the mean squared error of the velocity x_1 - x_0 at times that are denser near the noise.

    The times near the noise decide what a caption is about: which object is where.

    Args:
        network: The network in training.
        x1: Images [n, 3, 32, 32].
        tokens: Their captions [n, 5].
        generator: Of the noise, the times and the dropped captions.
    """
    x0 = torch.randn(x1.shape, generator=generator)
    t = ((torch.arange(len(x1)) + torch.rand(len(x1), generator=generator)) / len(x1)) ** EARLIER
    dropped = torch.rand(len(x1), generator=generator) < CAPTION_DROP
    tokens = tokens.masked_fill(dropped[:, None], 0)
    velocity = network(2.0 * t - 1.0, torch.lerp(x0, x1, t[:, None, None, None]), tokens)
    return mse_loss(velocity, x1 - x0)


def reading_loss(network: SceneClassifier, generator: torch.Generator) -> Tensor:
    """Return mean cross-entropy plus the weighted error of the thumbnail, both from the features, on fresh scenes."""
    images, tokens = random_scenes(CLASSIFIER_BATCH, generator)
    features = network.features(images)
    reading = attribute_loss(network.logits(features), attributes(tokens))
    thumbnails = avg_pool2d(images, SIZE // network.thumbnail)
    return reading + THUMBNAIL_WEIGHT * mse_loss(network.decoder(features), thumbnails.flatten(1))


def attribute_loss(logits: Sequence[Tensor], wanted: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits [batch, values] of each attribute, wanted [batch, 5]."""
    return torch.stack([cross_entropy(one, wanted[:, place]) for place, one in enumerate(logits)]).mean()


def _drawn(course: Course, size: int) -> Draw:
    """Return what draws batches of fresh scenes."""
    return from_cpu(lambda generator: random_scenes(size, generator), course.device)


CHAINS = tuple(Chain(NAME, guidance, scenes, _drawn, batch=256, steps=4000, rate=5e-4) for guidance in (0.0, 2.0))
"""The students of the scenes."""

RECIPES = {
    NAME: Recipe(9000, gradient_training(NAME, generator_learner), measure_generator, {"all_attributes_w2": 0.80}),
    CLASSIFIER: Recipe(
        3000, gradient_training(CLASSIFIER, classifier_learner), measure_classifier, {"all_attributes": 0.995}
    ),
    **{name: recipe for chain in CHAINS for name, recipe in chain_recipes(chain).items()},
}
"""The recipes of the scenes weights, by name."""

SHIPMENTS = tuple(Shipment(NAME, guidance) for guidance in (0.0, 2.0, 6.5))
"""For which the package ships solvers of the scenes."""
