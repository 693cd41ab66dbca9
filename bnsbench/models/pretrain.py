"""Train the shipped weights again: the digit networks, their classifier and the Gaussian mixture fitted on digits."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from bnsbench.errors import UsageError
from bnsbench.models.digits import DIM, VARIANTS, Variant
from bnsbench.models.digits_data import CLASSES, Digits, augment, load_digits, split_digits
from bnsbench.models.gates import GATES, check_gates, measure
from bnsbench.models.learning import Learner, Network, learn
from bnsbench.models.networks import DigitClassifier, ResidualMLP
from bnsbench.models.weights import save_weights

SEED = 0
STEPS = {"digits-ot": 6000, "digits-cos": 6000, "digits-vp": 6000, "digits-classifier": 2500, "digits-gmm": 100}
BATCH = 256
LABEL_DROP = 0.12
COMPONENTS_PER_CLASS = 3
COVARIANCE_FLOOR = 0.01
RECONSTRUCTION_WEIGHT = 5.0


def pretrain(
    name: str, output: Path, *, steps: int | None = None, check: bool = False, progress: bool = True
) -> dict[str, float]:
    """Train the weights of that name into the folder ``output`` and return their figures, which the manifest records too.

    Goes on from ``output/NAME.checkpoint.pt`` if training was interrupted. ``steps`` replaces the recipe's budget.
    With ``check`` nothing is trained: the shipped weights are measured again.
    Raises UsageError for an unknown name and BnsbenchError if figures after the recipe's full budget miss their gate.
    """
    if name not in GATES:
        raise UsageError(f"There is no recipe named {name!r}; choose from {', '.join(GATES)}.")
    if check:
        figures = measure(name)
        check_gates(name, figures)
        return figures
    budget = STEPS[name] if steps is None else steps
    if budget < 1:
        raise UsageError(f"A training needs at least 1 step, not {budget}.")
    record: dict[str, Any] = {"steps": budget, "seed": SEED}
    tensors = _train(name, output, budget, progress)
    save_weights(name, tensors, record, output)
    figures = measure(name, output)
    save_weights(name, tensors, {**record, "figures": {key: round(value, 4) for key, value in figures.items()}}, output)
    _checkpoint(name, output).unlink(missing_ok=True)
    if budget >= STEPS[name]:
        check_gates(name, figures)
    return figures


def _train(name: str, output: Path, steps: int, progress: bool) -> dict[str, Tensor]:
    if name == "digits-gmm":
        return fit_mixture(load_digits(), steps)
    learner: Learner[Any] = classifier_learner(steps) if name == "digits-classifier" else generator_learner(name, steps)
    learn(learner, _checkpoint(name, output), name, progress)
    state: dict[str, Tensor] = learner.average.state_dict()
    return state


def _checkpoint(name: str, output: Path) -> Path:
    return output / f"{name}.checkpoint.pt"


def generator_learner(name: str, steps: int) -> Learner[ResidualMLP]:
    """Return the learner of a digits network, on the 1500 training images."""
    kept, _ = split_digits()
    network = _seeded(lambda: ResidualMLP(DIM, CLASSES))
    loss = partial(prediction_loss, variant=VARIANTS[name.removeprefix("digits-")], data=kept)
    return Learner(network, loss, steps, rate=2e-3, seed=SEED)


def classifier_learner(steps: int) -> Learner[DigitClassifier]:
    """Return the learner of the digit classifier, on the 1500 training images."""
    kept, _ = split_digits()
    return Learner(_seeded(DigitClassifier), partial(classification_loss, data=kept), steps, rate=4e-3, seed=SEED)


def prediction_loss(network: ResidualMLP, generator: torch.Generator, *, variant: Variant, data: Digits) -> Tensor:
    """Return the mean squared error of the prediction on one batch of augmented images at stratified uniform times.

    The target at x_t = sigma x_0 + alpha x_1 is the velocity sigma' x_0 + alpha' x_1, the noise x_0 or
    v = alpha x_0 - sigma x_1, as the variant predicts.
    """
    images, labels = _batch(data, BATCH, generator)
    x1 = images.flatten(1)
    x0 = torch.randn(x1.shape, generator=generator)
    t = variant.end * (torch.arange(BATCH) + torch.rand(BATCH, generator=generator)) / BATCH
    alpha, sigma = (value.float()[:, None] for value in (variant.path.alpha(t), variant.path.sigma(t)))
    dropped = torch.rand(BATCH, generator=generator) < LABEL_DROP
    prediction = network(variant.clock(t).float(), sigma * x0 + alpha * x1, labels.masked_fill(dropped, CLASSES))
    if variant.prediction == "velocity":
        d_alpha, d_sigma = (value.float()[:, None] for value in (variant.path.d_alpha(t), variant.path.d_sigma(t)))
        return mse_loss(prediction, d_sigma * x0 + d_alpha * x1)
    return mse_loss(prediction, x0 if variant.prediction == "epsilon" else alpha * x0 - sigma * x1)


def classification_loss(network: DigitClassifier, generator: torch.Generator, *, data: Digits) -> Tensor:
    """Return cross-entropy plus weighted reconstruction error, both from the features, on one batch of augmented images."""
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


def _seeded(make: Callable[[], Network]) -> Network:
    """Build a network from the seed without touching the process's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return make()
