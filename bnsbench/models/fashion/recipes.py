"""The training of the fashion weights: the two networks, their classifier and the choice of the shipped pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy, mse_loss, pad

from bnsbench.models.copying import GATE
from bnsbench.models.distillation import Chain, Draw, chain_recipes
from bnsbench.models.fashion.data import CLASSES, FOLDER, SHAPE, TEST, TRAINING, Fashion, load_fashion, pictures
from bnsbench.models.fashion.features import CLASSIFIER
from bnsbench.models.fashion.figures import measure_classifier, measure_copying, measure_generator
from bnsbench.models.fashion.model import PICTURES, VARIANTS, fashion_ot
from bnsbench.models.fashion.network import FashionClassifier, FashionNetwork
from bnsbench.models.learning import Learner
from bnsbench.models.recipe import SEED, Course, Recipe, Trained, course_training, no_figures, seeded
from bnsbench.models.shipped import Shipment
from bnsbench.models.variants import Variant, prediction_loss

STEPS = 4700
BATCH = 512
LABEL_DROP = 0.1
CLASSIFIER_BATCH = 128
SHIFT = 2
"""The most pixels by which pictures are moved for the classifier; the generators see them as they are."""
THUMBNAIL_WEIGHT = 2.0
SHIPPED = 2000
DEVICES = ("cpu", "cuda")


def generator_learner(name: str, course: Course) -> Learner[FashionNetwork]:
    """Return the learner of a fashion network, on the 60,000 training pictures."""
    loss = partial(generator_loss, variant=VARIANTS[name.removeprefix("fashion-")], data=_training(course))
    return Learner(seeded(FashionNetwork), loss, course.steps, rate=2e-3, seed=SEED, device=course.device)


def classifier_learner(course: Course) -> Learner[FashionClassifier]:
    """Return the learner of the classifier, on the 60,000 training pictures."""
    loss = partial(classification_loss, data=_training(course))
    return Learner(seeded(FashionClassifier), loss, course.steps, rate=3e-3, seed=SEED, device=course.device)


def generator_loss(network: FashionNetwork, generator: torch.Generator, *, variant: Variant, data: Fashion) -> Tensor:
    """Return the mean squared error of the prediction on one batch; see `prediction_loss`."""
    images, labels = _batch(data, BATCH, generator)
    return prediction_loss(network, generator, images, labels, variant=variant, drop=LABEL_DROP)


def classification_loss(network: FashionClassifier, generator: torch.Generator, *, data: Fashion) -> Tensor:
    """Return cross-entropy plus the weighted error of the thumbnail, both from the features, on one batch of moved pictures.

    Args:
        network: The classifier in training.
        generator: Of the batch and its moves.
        data: The training pictures.
    """
    images, labels = _batch(data, CLASSIFIER_BATCH, generator)
    images = moved(images, generator)
    features = network.features(images)
    thumbnails = avg_pool2d(images, SHAPE[1] // network.thumbnail).flatten(1)
    return cross_entropy(network.head(features), labels) + THUMBNAIL_WEIGHT * mse_loss(network.decoder(features), thumbnails)


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures under random moves of up to two pixels, and half of them mirrored."""
    n, (height, width) = len(images), images.shape[2:]

    def draw(choices: int) -> Tensor:
        return torch.randint(0, choices, (n, 1), generator=generator, device=images.device)

    rows = draw(2 * SHIFT + 1) + torch.arange(height, device=images.device)
    columns = draw(2 * SHIFT + 1) + torch.arange(width, device=images.device)
    columns = torch.where(draw(2) == 1, columns.flip(1), columns)
    padded = pad(images[:, 0], (SHIFT,) * 4, value=-1.0)
    number = torch.arange(n, device=images.device)
    return padded[number[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]


def _training(course: Course) -> Fashion:
    data = load_fashion(TRAINING, course.data or FOLDER)
    return Fashion(data.levels.to(course.device), data.labels.to(course.device))


def _batch(data: Fashion, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    chosen = torch.randint(0, len(data.labels), (size,), generator=generator, device=generator.device)
    return pictures(data.levels[chosen]), data.labels[chosen]


def _drawn(course: Course, size: int) -> Draw:
    """Return what draws batches of training pictures."""
    data = _training(course)
    return lambda generator: _batch(data, size, generator)


def choose_pictures(test: Fashion) -> dict[str, Tensor]:
    """Return 200 pictures of each class, the first of the test part, in classes that take turns."""
    number = torch.arange(SHIPPED)
    labels, turn = number % CLASSES, number // CLASSES
    chosen = torch.stack([(test.labels == label).nonzero()[:, 0][: SHIPPED // CLASSES] for label in range(CLASSES)])
    return {"levels": test.levels[chosen[labels, turn]], "labels": labels.to(torch.uint8)}


def _ship_pictures(course: Course, checkpoint: Path) -> Trained:
    del checkpoint  # it takes a second
    return Trained(choose_pictures(load_fashion(TEST, course.data or FOLDER)), {"steps": course.steps})


def _generator(name: str) -> Recipe:
    gates = {"accuracy_w2": 0.95, "fid_share": 0.25, "nearest_ratio": GATE}
    train = course_training(name, partial(generator_learner, name))
    measure, by_data = (partial(each, name.removeprefix("fashion-")) for each in (measure_generator, measure_copying))
    return Recipe(STEPS, train, measure, gates, FOLDER, DEVICES, measure_by_data=by_data)


CHAINS = tuple(
    Chain("fashion-ot", guidance, fashion_ot, _drawn, batch=256, steps=4000, rate=5e-4, folder=FOLDER)
    for guidance in (0.0, 2.0)
)
"""The students of the clothes."""

RECIPES = {
    "fashion-ot": _generator("fashion-ot"),
    "fashion-vp": _generator("fashion-vp"),
    CLASSIFIER: Recipe(
        6000, course_training(CLASSIFIER, classifier_learner), measure_classifier, {"accuracy": 0.92}, FOLDER, DEVICES
    ),
    PICTURES: Recipe(1, _ship_pictures, no_figures, {}, FOLDER, timed=False),
    **{name: recipe for chain in CHAINS for name, recipe in chain_recipes(chain).items()},
}
"""The recipes of the fashion weights, by name."""

SHIPMENTS = tuple(Shipment(f"fashion-{variant}", guidance, (4, 6, 8)) for variant in VARIANTS for guidance in (0.0, 2.0))
"""For which the package ships solvers of the clothes."""
