"""The recipe for posteriors of sbi: its own adaptive solver and a wrapped model agree on the same noise."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.truth.ground_truth import solve
from tests.recipes.networks import Network, per_sample
from tests.recipes.page import Recipe, export, normal, package, same, sampled

WIDTH = 0.3


class Estimator(Network):
    """A stand-in with the interface of sbi's estimators: theta given x is N(x / 2, WIDTH^2), exactly."""

    def ode_fn(self, theta: Tensor, condition: Tensor, times: Tensor) -> Tensor:
        """dtheta/ds for theta_s = (1 - s) theta + s noise."""
        s = per_sample(times, theta)
        variance = (1 - s) ** 2 * WIDTH**2 + s**2
        away = theta - (1 - s) * condition / 2
        mean, noise = condition / 2 + (1 - s) * WIDTH**2 / variance * away, s / variance * away
        return self.one * (noise - mean)


def test_sbi_by_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    observations = normal(6, 2)
    recipe = Recipe("sbi", estimator=Estimator(), observations=observations)
    recipe.run()
    assert caplog.messages == []
    noise = normal(6, 2).flip(0)
    truth, _ = solve(recipe.model.field(observations), noise, 1e-7)
    same(truth, observations / 2 + WIDTH * noise, 1e-5)  # of one Gaussian, the flow is a scaling about its mean
    table, _ = export(recipe.model, "odeint", tmp_path, monkeypatch, time="1 to 0")
    found = recipe.run(x_o=observations, noise=noise)["theta"].detach()
    same(found, sampled(recipe.model, table, noise, observations))


def trained() -> Any:
    """An FMPE that has seen a few simulations, and what it was told."""
    inference = package("sbi.inference")
    from torch.distributions import Independent, Uniform

    torch.manual_seed(0)
    prior = Independent(Uniform(-2 * torch.ones(2), 2 * torch.ones(2)), 1)
    theta = prior.sample((200,))
    x = theta + 0.3 * torch.randn_like(theta)
    learner = inference.FMPE(prior, show_progress_bars=False)
    estimator = learner.append_simulations(theta, x).train(max_num_epochs=3, training_batch_size=50)
    return learner.build_posterior(estimator), estimator.eval(), x


def test_sbi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package("sbi.inference")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        posterior, estimator, x = trained()
    recipe = Recipe("sbi", estimator=estimator, observations=x)
    recipe.run()
    x_o, noise = x[:1], normal(50, 2)
    assert estimator.mean_base.abs().max() == 0
    assert bool((estimator.std_base == 1).all())
    posterior.potential_fn.set_x(x_o)
    with torch.no_grad():
        own = posterior.potential_fn.neural_ode(x_o, atol=1e-5, rtol=1e-5).transform.inv(noise[:, None])[:, 0]
    truth, _ = solve(recipe.model.field(x_o.expand(50, 2)), noise, 1e-7)
    same(truth, own, 1e-3)
    table, _ = export(recipe.model, "odeint", tmp_path, monkeypatch, time="1 to 0")
    found = recipe.run(x_o=x_o, noise=noise)["theta"].detach()
    same(found, sampled(recipe.model, table, noise, x_o.expand(50, 2)))
