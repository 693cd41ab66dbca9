"""The training of the digits weights: the three networks, their classifier and the Gaussian mixture fitted to digits."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from bnsbench.models.copying import GATE
from bnsbench.models.digits.data import CLASSES, Digits, augment, load_digits, split_digits
from bnsbench.models.digits.features import CLASSIFIER
from bnsbench.models.digits.figures import measure_classifier, measure_generator, measure_mixture
from bnsbench.models.digits.model import DIM, VARIANTS, digits_ot
from bnsbench.models.digits.network import DigitClassifier, ResidualMLP
from bnsbench.models.distillation import Chain, Draw, chain_recipes, from_cpu
from bnsbench.models.learning import Learner
from bnsbench.models.recipe import SEED, Course, Recipe, Trained, gradient_training, seeded
from bnsbench.models.shipped import Shipment
from bnsbench.models.variants import Variant, prediction_loss

BATCH = 256
LABEL_DROP = 0.12
COMPONENTS_PER_CLASS = 3
COVARIANCE_FLOOR = 0.01
RECONSTRUCTION_WEIGHT = 5.0


def generator_learner(name: str, steps: int) -> Learner[ResidualMLP]:
    """Return the learner of a digits network, on the 1500 training images."""
    kept, _ = split_digits()
    network = seeded(lambda: ResidualMLP(DIM, CLASSES))
    loss = partial(generator_loss, variant=VARIANTS[name.removeprefix("digits-")], data=kept)
    return Learner(network, loss, steps, rate=2e-3, seed=SEED)


def classifier_learner(steps: int) -> Learner[DigitClassifier]:
    """Return the learner of the digit classifier, on the 1500 training images."""
    kept, _ = split_digits()
    return Learner(seeded(DigitClassifier), partial(classification_loss, data=kept), steps, rate=4e-3, seed=SEED)


def generator_loss(network: ResidualMLP, generator: torch.Generator, *, variant: Variant, data: Digits) -> Tensor:
    """Return the mean squared error of the prediction on one batch of augmented images; see `prediction_loss`."""
    images, labels = _batch(data, BATCH, generator)
    return prediction_loss(network, generator, images, labels, variant=variant, drop=LABEL_DROP)


def classification_loss(network: DigitClassifier, generator: torch.Generator, *, data: Digits) -> Tensor:
    """Return cross-entropy plus weighted reconstruction error, both from the features, on one batch of augmented images.

    Args:
        network: The classifier in training.
        generator: Of the batch.
        data: The training images.
    """
    images, labels = _batch(data, BATCH // 2, generator)
    features = network.features(images)
    reconstruction = mse_loss(network.decoder(features), images.flatten(1))
    return cross_entropy(network.head(features), labels) + RECONSTRUCTION_WEIGHT * reconstruction


def fit_mixture(data: Digits, iterations: int) -> dict[str, Tensor]:
    """Fit three full-covariance Gaussians to each class by expectation maximisation; classes get equal weights."""
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - sklearn is slow to import
    from sklearn.mixture import GaussianMixture  # noqa: PLC0415

    parts: dict[str, list[Tensor]] = {"weights": [], "means": [], "factors": []}
    for label in range(CLASSES):
        images = data.images[data.labels == label].flatten(1).double().numpy()
        fit = GaussianMixture(COMPONENTS_PER_CLASS, reg_covar=COVARIANCE_FLOOR, max_iter=iterations, random_state=SEED)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit.fit(images)
        parts["weights"].append(torch.from_numpy(fit.weights_) / CLASSES)
        parts["means"].append(torch.from_numpy(fit.means_))
        parts["factors"].append(torch.linalg.cholesky(torch.from_numpy(fit.covariances_)))
    return {name: torch.cat(tensors) for name, tensors in parts.items()}


def _batch(data: Digits, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    chosen = torch.randint(0, len(data.images), (size,), generator=generator)
    return augment(data.images[chosen], generator), data.labels[chosen]


def _drawn(course: Course, size: int) -> Draw:
    """Return what draws batches of augmented training images."""
    kept, _ = split_digits()
    return from_cpu(partial(_batch, kept, size), course.device)


def _train_mixture(course: Course, checkpoint: Path) -> Trained:
    del checkpoint  # it takes six seconds
    return Trained(fit_mixture(load_digits(), course.steps), {"steps": course.steps})


def _generator(name: str, accuracy_w0: float) -> Recipe:
    gates = {"accuracy_w0": accuracy_w0, "accuracy_w2": 0.99, "nearest_ratio": GATE}
    train = gradient_training(name, partial(generator_learner, name))
    return Recipe(6000, train, partial(measure_generator, name.removeprefix("digits-")), gates)


CHAINS = tuple(Chain("digits-ot", guidance, digits_ot, _drawn, BATCH, steps=2500, rate=1e-3) for guidance in (0.0, 2.0))
"""The students of the digits."""

RECIPES = {
    "digits-ot": _generator("digits-ot", 0.90),
    "digits-cos": _generator("digits-cos", 0.90),
    "digits-vp": _generator("digits-vp", 0.85),
    CLASSIFIER: Recipe(2500, gradient_training(CLASSIFIER, classifier_learner), measure_classifier, {"accuracy": 0.99}),
    "digits-gmm": Recipe(100, _train_mixture, measure_mixture, {"accuracy": 0.85}, timed=False),
    **{name: recipe for chain in CHAINS for name, recipe in chain_recipes(chain).items()},
}
"""The recipes of the digits weights, by name."""

SHIPMENTS = tuple(
    Shipment(model, guidance, (4, 6, 8, 12, 16), pairs=512, tolerance=1e-6, classics=False)
    for model, scales in (
        ("digits-gmm", (0.0, 2.0)),
        ("digits-gmm[path=vp]", (0.0,)),
        ("digits-ot", (0.0, 2.0)),
        ("digits-cos", (0.0, 2.0)),
        ("digits-vp", (0.0, 2.0)),
    )
    for guidance in scales
)
"""For which the package ships solvers of the digits: those of the default suite."""
