from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from bnsbench.models.digits import recipes as module
from bnsbench.models.digits.data import CLASSES, Digits, load_digits, split_digits
from bnsbench.models.digits.model import DIM, VARIANTS
from bnsbench.models.digits.network import ResidualMLP
from bnsbench.models.digits.recipes import fit_mixture, generator_learner, generator_loss


def test_generator_learns_and_repeats():
    first, second = generator_learner("digits-ot", 30), generator_learner("digits-ot", 30)
    losses = [first.step() for _ in range(30)]
    assert losses == [second.step() for _ in range(30)]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])


def test_learners_leave_the_random_state_alone():
    state = torch.random.get_rng_state()
    generator_learner("digits-vp", 2).step()
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(("variant", "expected"), [("ot", 2.0), ("cos", 1.0), ("vp", 1.0)])
def test_loss_of_the_zero_network_is_the_target_s_power(variant, expected, monkeypatch):
    # With data of unit power, E|x_1 - x_0|^2 = 2 per pixel, E|v|^2 = alpha^2 + sigma^2 = 1 and E|eps|^2 = 1.
    monkeypatch.setattr(module, "augment", lambda images, generator: images)
    white = Digits(torch.randn(1000, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(1000) % 10)
    network = ResidualMLP(DIM, CLASSES)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    loss = generator_loss(network, torch.Generator().manual_seed(1), variant=VARIANTS[variant], data=white)
    assert float(loss.detach()) == pytest.approx(expected, rel=0.05)


def test_fitted_mixture_explains_held_out_digits_better_than_one_gaussian():
    kept, held = split_digits()
    fitted = {name: tensor.numpy() for name, tensor in fit_mixture(kept, 100).items()}
    x = held.images.flatten(1).double().numpy()
    covariances = fitted["factors"] @ fitted["factors"].transpose(0, 2, 1)
    parts = [multivariate_normal(mean, cov).logpdf(x) for mean, cov in zip(fitted["means"], covariances, strict=True)]
    mixture = np.logaddexp.reduce(np.array(parts) + np.log(fitted["weights"])[:, None], axis=0)
    everything = kept.images.flatten(1).double().numpy()
    single = multivariate_normal(everything.mean(0), np.cov(everything.T) + 0.01 * np.eye(64)).logpdf(x)
    assert mixture.mean() > single.mean() + 5
    assert (np.array(parts).reshape(10, 3, -1).max(1).argmax(0) == held.labels.numpy()).mean() > 0.9


def test_fitted_classes_have_equal_weights():
    weights = fit_mixture(load_digits(), 5)["weights"]
    torch.testing.assert_close(weights.reshape(10, 3).sum(1), torch.full((10,), 0.1, dtype=torch.float64))
