"""Recipes for velocities: the wrapped model is the package's own field, and a table runs in its own loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import bnsbench
from bnsbench.paths import VP, CondOT, Cosine, Sampled, as_path
from bnsbench.truth.ground_truth import solve
from tests.recipes.networks import Network, data, labelled, per_sample, shaken
from tests.recipes.page import Recipe, export, normal, package, same, sampled

STEPS = 10


def velocity(x: Tensor, t: Tensor, power: float = 1.0, weight: Tensor | float = 1.0) -> Tensor:
    """The velocity for alpha = t^power and sigma = 1 - t^power."""
    alpha = t**power
    slope = power * t ** (power - 1)
    denoised = data(x, alpha, 1 - alpha, weight)
    return per_sample(slope / (1 - alpha).clamp_min(1e-6), x) * (denoised - x)


class TimeFirst(Network):
    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.one * velocity(x, t)


class Squared(Network):
    """As networks of flow_matching, of PolynomialConvexScheduler(2)."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.one * velocity(x, t, 2.0)


def test_plain_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    net = TimeFirst()
    recipe = Recipe("Plain PyTorch", net=net)
    recipe.run()
    assert caplog.messages == []
    x0 = normal(5, 2)
    x = x0
    for i in range(STEPS):
        x = x + net(torch.full([5], i / STEPS), x).detach() / STEPS
    same(sampled(recipe.model, bnsbench.solver("euler", STEPS, recipe.model), x0), x)
    table, _ = export(recipe.model, "odeint", tmp_path, monkeypatch)
    same(recipe.run(x0=x0)["x1"].detach(), sampled(recipe.model, table, x0))


def test_flow_matching(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    solvers = package("flow_matching.solver")
    net = Squared()
    recipe = Recipe("flow_matching", net=net)
    recipe.run()
    assert caplog.messages == []
    noise, own = normal(5, 2), solvers.ODESolver(velocity_model=net)
    x0 = noise * float(recipe.model.path.sigma(recipe.model.interval[0]))  # 0.9999
    for name, stages in (("euler", 1), ("midpoint", 2)):
        grid = torch.linspace(*recipe.model.interval, STEPS + 1)
        expected = own.sample(x_init=x0, step_size=None, method=name, time_grid=grid)
        same(sampled(recipe.model, bnsbench.solver(name, STEPS * stages, recipe.model), noise), expected)
    ends = torch.tensor(recipe.model.interval)
    expected = own.sample(x_init=x0, step_size=None, method="dopri5", atol=1e-7, rtol=1e-7, time_grid=ends)
    same(solve(recipe.model.field(None), x0, 1e-7)[0], expected, 1e-4)
    table, _ = export(recipe.model, "odeint", tmp_path, monkeypatch)
    same(recipe.run(x0=x0)["x1"], sampled(recipe.model, table, noise))


def test_schedulers_of_flow_matching_are_paths() -> None:
    schedulers = package("flow_matching.path.scheduler")
    named = {schedulers.CondOTScheduler(): CondOT(), schedulers.CosineScheduler(): Cosine(), schedulers.VPScheduler(): VP()}
    for scheduler, path in named.items():
        assert as_path(scheduler) == path
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    for scheduler in (schedulers.LinearVPScheduler(), schedulers.PolynomialConvexScheduler(3), schedulers.VPScheduler(1, 9)):
        path, theirs = as_path(scheduler), scheduler(t)
        assert isinstance(path, Sampled)
        for name in ("alpha", "sigma", "d_alpha", "d_sigma"):
            torch.testing.assert_close(getattr(path, name)(t), getattr(theirs, f"{name}_t"), rtol=1e-4, atol=1e-5)


def test_torchcfm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package("torchcfm")
    networks, torchdiffeq = package("torchcfm.models.unet.unet"), package("torchdiffeq")
    unet = shaken(
        networks.UNetModelWrapper(
            (3, 8, 8), num_channels=32, num_res_blocks=1, channel_mult=(1,), attention_resolutions="4", num_heads=1
        )
    )
    recipe = Recipe("torchcfm", unet=unet)
    recipe.run()
    x0 = normal(2, 3, 8, 8)
    with torch.no_grad():
        expected = torchdiffeq.odeint(unet, x0, torch.linspace(0, 1, STEPS + 1), method="euler")[-1]
    same(sampled(recipe.model, bnsbench.solver("euler", STEPS, recipe.model), x0), expected)
    table, _ = export(recipe.model, "odeint", tmp_path, monkeypatch)
    same(recipe.run(x0=x0)["x1"].detach(), sampled(recipe.model, table, x0))


def test_paths_of_torchcfm() -> None:
    flows = package("torchcfm.conditional_flow_matching")
    t, x0, x1 = torch.tensor([0.2, 0.7]), normal(2, 2), 0.5 * normal(2, 2).flip(0)
    for matcher, path in (
        (flows.ConditionalFlowMatcher(0.0), CondOT()),
        (flows.ExactOptimalTransportConditionalFlowMatcher(0.0), CondOT()),
        (flows.VariancePreservingConditionalFlowMatcher(0.0), Cosine()),
    ):
        mixed = per_sample(path.sigma(t), x0) * x0 + per_sample(path.alpha(t), x1) * x1
        torch.testing.assert_close(matcher.compute_mu_t(x0, x1, t), mixed)


def test_rectified_flow_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rectified = package("rectified_flow_pytorch")
    flow = rectified.RectifiedFlow(shaken(rectified.Unet(dim=8, dim_mults=(1, 2))))
    recipe = Recipe("rectified-flow-pytorch", rectified_flow=flow)
    recipe.run()
    x0 = normal(2, 3, 8, 8)
    own = flow.sample(noise=x0, steps=STEPS + 1, data_shape=(3, 8, 8))  # midpoint
    found = sampled(recipe.model, bnsbench.solver("midpoint", 2 * STEPS, recipe.model), x0)
    same((found + 1) / 2, own)
    table, _ = export(recipe.model, "odeint", tmp_path, monkeypatch)
    same(recipe.run(x0=x0, noise=x0)["images"], (sampled(recipe.model, table, x0) + 1) / 2)


@pytest.mark.parametrize("predict", ["noise", "clean"])
def test_predictions_of_rectified_flow_pytorch(predict: str) -> None:
    rectified = package("rectified_flow_pytorch")

    class Predicting(Network):
        def forward(self, x: Tensor, times: Tensor) -> Tensor:
            denoised = data(x, times, 1 - times)
            noise = (x - per_sample(times, x) * denoised) / per_sample((1 - times).clamp_min(1e-6), x)
            return self.one * (noise if predict == "noise" else denoised)

    flow = rectified.RectifiedFlow(Predicting(), predict=predict, clip_flow_during_sampling=False).eval()
    arguments: dict[str, Any] = {
        "epsilon" if predict == "noise" else "x": lambda x, t: flow.model(x, times=t),
        "interval": (0.005, 1.0) if predict == "noise" else (0.0, 0.995),
    }
    model = bnsbench.wrap(path="condot", shape=(2,), network=flow.model, **arguments)
    t = torch.tensor([0.3, 0.9])
    _, expected = flow.predict_flow(flow.model, normal(2, 2), times=t)
    torch.testing.assert_close(model.field(None)(t.double(), normal(2, 2)), expected.detach(), rtol=1e-4, atol=1e-4)


class SiT(Network):
    """A stand-in: forward(x, t, y) is a velocity, forward_with_cfg guides the first three channels of a doubled batch."""

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.one * velocity(x, t, 1.0, labelled(y))


def guided(net: SiT, x: Tensor, t: Tensor, y: Tensor, cfg_scale: float) -> Tensor:
    """Guidance of all channels, of a batch that is doubled as SiT's and DiT's are."""
    half = x[: len(x) // 2]
    cond, uncond = net(torch.cat([half, half]), t, y).chunk(2)
    found = uncond + cfg_scale * (cond - uncond)
    return torch.cat([found, found])


def test_sit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    net = SiT()
    recipe = Recipe("SiT", sit=net)
    recipe.run()
    assert caplog.messages == []
    x0, y = normal(3, 4, 8, 8), torch.tensor([1, 4, 7])
    with torch.no_grad():
        x = torch.cat([x0, x0])
        labels = torch.cat([y, torch.full_like(y, 10)])
        for i in range(STEPS):
            x = x + guided(net, x, torch.full([6], i / STEPS), labels, 4.0) / STEPS
    field = recipe.model.field(y, 3.0)
    same(bnsbench.solver("euler", STEPS, recipe.model)(field, x0), x[:3])
    table, _ = export(recipe.model, "odeint", tmp_path, monkeypatch, 3.0)
    names = recipe.run(x0=x0, y=y, guided=lambda x, t, labels, cfg_scale: guided(net, x, t, labels, cfg_scale))
    same(names["x1"].detach(), table(field, x0))
