"""`bnsbench.wrap` by what a network predicts: each convention gives the field of an exact model, and mistakes are told."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bnsbench
from bnsbench.errors import UsageError
from bnsbench.flows.paths import EDM, VP, CondOT, DiscreteVP, Path
from bnsbench.models.mixtures import Mixture, MixtureModel

BETAS = np.linspace(1e-4, 0.02, 1000)
CUMULATIVE = np.cumprod(1 - BETAS)
DIM = 4


def mixture() -> Mixture:
    places = torch.rand(5, DIM, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 2 - 1
    return Mixture(torch.full((5,), 0.2, dtype=torch.float64), places, 0.2 * torch.eye(DIM).double().expand(5, -1, -1))


def posterior_mean(x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """E[x_1 | alpha x_1 + sigma eps = x] of the mixture, by Bayes' rule: x [n, d], alpha and sigma [n]."""
    data, alpha, sigma = mixture(), alpha[:, None], sigma[:, None]
    variance = (alpha * 0.2) ** 2 + sigma**2
    gaps = x[:, None] - alpha[..., None] * data.means  # [n, K, d]
    weights = torch.softmax(-gaps.square().sum(2) / (2 * variance), 1)
    means = data.means + (alpha * 0.2**2 / variance)[..., None] * gaps
    return (weights[..., None] * means).sum(1)


def cumulative(timestep: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma of the schedule, at whole timesteps alone."""
    squared = torch.from_numpy(CUMULATIVE)[timestep.round().long()]
    return squared.sqrt(), (1 - squared).sqrt()


def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    return posterior_mean(x.double(), torch.ones_like(sigma.double()), sigma.double()).to(x)


def epsilon(x: Tensor, timestep: Tensor) -> Tensor:
    alpha, sigma = cumulative(timestep)
    return ((x - alpha[:, None] * posterior_mean(x.double(), alpha, sigma)) / sigma[:, None]).to(x)


def v(x: Tensor, timestep: Tensor) -> Tensor:
    alpha, sigma = cumulative(timestep)
    data = posterior_mean(x.double(), alpha, sigma)
    noise = (x - alpha[:, None] * data) / sigma[:, None]
    return (alpha[:, None] * noise - sigma[:, None] * data).to(x)


def data(x: Tensor, timestep: Tensor) -> Tensor:
    return posterior_mean(x.double(), *cumulative(timestep)).to(x)


def flow(t: Tensor, x: Tensor) -> Tensor:
    """The velocity on the straight line, noise at 0."""
    mean = posterior_mean(x.double(), t.double(), 1 - t.double())
    return ((mean - x) / (1 - t)[:, None]).to(x)


def backwards(s: Tensor, x: Tensor) -> Tensor:
    """The same field in the time s = 1 - t: noise at 1, dx/ds."""
    return -flow(1 - s, x)


def noise_at(x: Tensor, s: Tensor) -> Tensor:
    """The noise in states of VP, whose time runs from data at 0 to noise at 1."""
    path = VP()
    alpha, sigma = path.alpha(1 - s), path.sigma(1 - s)
    return ((x - alpha[:, None] * posterior_mean(x.double(), alpha, sigma)) / sigma[:, None]).to(x)


CONVENTIONS: dict[str, tuple[dict[str, object], Path]] = {
    "velocity": ({"velocity": flow, "interval": (0.0, 0.999)}, CondOT()),
    "velocity backwards": ({"velocity": backwards, "time": "1 to 0", "interval": (0.0, 0.999)}, CondOT()),
    "denoiser": ({"denoiser": denoiser}, EDM()),
    "denoiser between other sigmas": ({"denoiser": denoiser, "sigma_min": 0.01, "sigma_max": 20}, EDM(0.01, 20)),
    "denoiser on another path": ({"denoiser": denoiser, "path": VP(), "interval": (0.0, 0.999)}, VP()),
    "epsilon": ({"epsilon": epsilon, "betas": torch.from_numpy(BETAS)}, DiscreteVP.linear()),
    "epsilon by products": ({"epsilon": epsilon, "alphas_cumprod": CUMULATIVE.tolist()}, DiscreteVP.linear()),
    "v": ({"v": v, "betas": BETAS.tolist()}, DiscreteVP.linear()),
    "x": ({"x": data, "betas": BETAS.tolist()}, DiscreteVP.linear()),
    "epsilon backwards": ({"epsilon": noise_at, "path": "vp", "time": "1 to 0", "interval": (0.0, 0.999)}, VP()),
}


@pytest.mark.parametrize("name", CONVENTIONS)
def test_the_field_is_that_of_the_exact_model(name: str, caplog: pytest.LogCaptureFixture) -> None:
    arguments, path = CONVENTIONS[name]
    model = bnsbench.wrap(shape=(DIM,), fingerprint="0", **arguments)  # type: ignore[arg-type]
    assert caplog.messages == []  # nothing is suspected
    model.dtype = torch.float64
    assert model.path == path
    exact = MixtureModel(mixture(), path, (DIM,))
    field = model.field(None)
    for timestep in (999, 700, 300, 20, 1):
        t = torch.tensor(1 - timestep / 999, dtype=torch.float64)
        noise = torch.randn(6, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        x = float(path.sigma(t)) * noise + float(path.alpha(t)) * 0.5
        torch.testing.assert_close(field(t, x), exact.predict(t, x, None), rtol=1e-4, atol=1e-4)


def test_a_denoiser_trains_as_the_same_field_does(tmp_path) -> None:
    model = bnsbench.wrap(denoiser=denoiser, sigma_min=0.01, sigma_max=20, shape=(DIM,), name="exact")
    solver = bnsbench.train(model, nfe=3, cache=tmp_path)
    assert solver.path == EDM(0.01, 20)
    board = bnsbench.compare(model, [solver, "edm-heun"], nfe=3, samples=64, cache=tmp_path)
    assert board["psnr"][0] > board["psnr"][1] + 10


class Dropping(nn.Module):
    """A network with dropout that is never off."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return nn.functional.dropout(-x, 0.5, training=True) * t[:, None]


def embedded(x: Tensor, timestep: Tensor) -> Tensor:
    return x + nn.functional.embedding(timestep, torch.zeros(1000, DIM))


def learned_variance(x: Tensor, timestep: Tensor) -> Tensor:
    return torch.cat([x, x], 1)


def five_channels(t: Tensor, x: Tensor) -> Tensor:
    return torch.cat([x, t[:, None]], 1)


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "train mode": (lambda: bnsbench.wrap(nn.Linear(4, 4), shape=(DIM,)), "in training mode"),
    "dropout": (lambda: bnsbench.wrap(Dropping().eval(), shape=(DIM,)), "two answers to the same question: it draws random"),
    "variance": (
        lambda: bnsbench.wrap(epsilon=learned_variance, betas=BETAS.tolist(), shape=(DIM,)),
        r"returned \[2, 8\] for states \[2, 4\]: it seems to return a variance as well; wrap .* the first 4 channels",
    ),
    "fifth channel": (lambda: bnsbench.wrap(five_channels, shape=(DIM,)), "needs a function around it"),
    "order": (lambda: bnsbench.wrap(lambda x, t: x * t[:, None], shape=(DIM,)), r"velocity\(t, x\)"),
    "whole timesteps": (
        lambda: bnsbench.wrap(epsilon=embedded, betas=BETAS.tolist(), shape=(DIM,)),
        r"raised RuntimeError: .* called as epsilon\(x, timestep\), with states \[2, 4\] .* If it takes whole timesteps",
    ),
    "precision": (lambda: bnsbench.wrap(lambda t, x: x.double(), shape=(DIM,)), "returned torch.float64 for states in"),
    "infinite": (lambda: bnsbench.wrap(lambda t, x: x / 0, shape=(DIM,)), "numbers that are not finite"),
    "nothing": (lambda: bnsbench.wrap(shape=(DIM,)), "given: none of them"),
    "two": (lambda: bnsbench.wrap(flow, epsilon=epsilon, shape=(DIM,)), "given: velocity and epsilon"),
    "no function": (lambda: bnsbench.wrap(3, shape=(DIM,)), "can be called as velocity, not an object of int"),  # type: ignore[arg-type]
    "no schedule": (lambda: bnsbench.wrap(epsilon=epsilon, shape=(DIM,)), "predicts epsilon needs its schedule: betas="),
    "both schedules": (lambda: bnsbench.wrap(v=v, betas=[0.1], alphas_cumprod=[0.9], shape=(DIM,)), "either betas or"),
    "schedule of a flow": (lambda: bnsbench.wrap(flow, betas=BETAS.tolist(), shape=(DIM,)), "is for epsilon, v or x"),
    "time of a denoiser": (lambda: bnsbench.wrap(denoiser=denoiser, time="1 to 0", shape=(DIM,)), "takes no time="),
    "another time": (lambda: bnsbench.wrap(flow, time="up", shape=(DIM,)), "not 'up'"),  # type: ignore[arg-type]
    "no classes": (lambda: bnsbench.wrap(flow, conditions=0, shape=(DIM,)), "number of classes of at least 1, not 0"),
    "no encoder": (lambda: bnsbench.wrap(flow, texts=["a cat"], shape=(DIM,)), "Texts need an encoder"),
    "texts and more": (
        lambda: bnsbench.wrap(flow, texts=["a"], encode=lambda texts: torch.zeros(len(texts)), conditions=3, shape=(DIM,)),
        "take the place of conditions",
    ),
    "few rows": (
        lambda: bnsbench.wrap(flow, texts=["a"], encode=lambda texts: torch.zeros(7), shape=(DIM,)),
        "a row for each",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_does_not_go_together_is_told_at_once(mistake: str) -> None:
    make, said = MISTAKES[mistake]
    began = time.process_time()
    with pytest.raises(UsageError, match=said):
        make()
    assert time.process_time() - began < 1


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "sign": (lambda: bnsbench.wrap(lambda t, x: -flow(t, x), shape=(DIM,), interval=(0.0, 0.999)), "the other sign"),
    "time": (lambda: bnsbench.wrap(backwards, shape=(DIM,), interval=(0.001, 0.999)), "from data to noise"),
    "kind": (
        lambda: bnsbench.wrap(epsilon=data, betas=BETAS.tolist(), shape=(DIM,)),
        "It would be one if it predicted 'x'",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_network_that_is_wired_wrongly_is_logged(
    wrong: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bnsbench.truth.wiring._asked", set())
    make, said = WRONG[wrong]
    make()
    assert said in caplog.messages[0]


def test_classes_are_labels() -> None:
    def labelled(t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        return x * t[:, None] * label[:, None]

    model = bnsbench.wrap(labelled, shape=(DIM,), conditions=3, null_condition=3, check=False)
    condition = model.conditions(torch.arange(5))
    assert condition is not None
    assert condition.tolist() == [0, 1, 2, 0, 1]
    assert model.null_condition(condition).tolist() == [3] * 5


def test_texts_are_encoded_once() -> None:
    asked: list[list[str]] = []

    def encode(texts: list[str]) -> Tensor:
        asked.append(texts)
        return torch.tensor([[float(len(text))] for text in texts])

    def told(t: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        return x * 0 + rows

    model = bnsbench.wrap(told, shape=(DIM,), texts=["cat", "horse"], encode=encode, check=False)
    condition = model.conditions(torch.arange(3))
    assert condition is not None
    assert model.texts(condition) == ["cat", "horse", "cat"]
    x = torch.zeros(3, DIM)
    assert model.predict(torch.tensor(0.5), x, condition)[:, 0].tolist() == [3, 5, 3]
    assert model.predict(torch.tensor(0.5), x, model.null_condition(condition)).abs().max() == 0
    described = model.describe("elephant")
    assert model.texts(described[None]) == ["elephant"]
    assert model.predict(torch.tensor(0.5), x[:1], described[None])[0, 0] == 8
    assert asked == [["cat", "horse", ""], ["elephant"]]


def test_the_fingerprint_follows_the_convention() -> None:
    network = nn.Linear(DIM, DIM).eval()

    def fingerprint(**arguments: object) -> str:
        return bnsbench.wrap(shape=(DIM,), network=network, check=False, **arguments).fingerprint()  # type: ignore[arg-type]

    def called(one: Tensor, two: Tensor) -> Tensor:
        return network(two) * one if one.ndim < two.ndim else network(one) * two

    different = [
        fingerprint(velocity=called),
        fingerprint(velocity=called, time="1 to 0"),
        fingerprint(x=called, path="condot"),
        fingerprint(v=called, path="condot"),
        fingerprint(denoiser=called, path="condot"),
    ]
    assert len(set(different)) == len(different)


def test_times_are_told_in_at_least_float32() -> None:
    seen = []

    def half(x: Tensor, timestep: Tensor) -> Tensor:
        seen.append((x.dtype, timestep.dtype, float(timestep[0])))
        return x

    model = bnsbench.wrap(epsilon=half, betas=BETAS.tolist(), shape=(DIM,), check=False)
    model.predict(torch.tensor(1 - 501 / 999, dtype=torch.float64), torch.zeros(2, DIM, dtype=torch.bfloat16), None)
    ((states, times, timestep),) = seen
    assert (states, times) == (torch.bfloat16, torch.float32)
    assert math.isclose(timestep, 501, abs_tol=1e-3)


def test_a_table_on_a_path_of_functions_is_written_and_read(tmp_path) -> None:
    def alpha(t: Tensor) -> Tensor:
        return t

    def sigma(t: Tensor) -> Tensor:
        return (1 - t**2).sqrt()

    def velocity(t: Tensor, x: Tensor) -> Tensor:
        a, s = alpha(t.double()), sigma(t.double())
        mean = posterior_mean(x.double(), a, s)
        return (mean - (a / s**2)[:, None] * (x - a[:, None] * mean)).to(x)  # d alpha/dt data + d sigma/dt noise

    model = bnsbench.wrap(velocity, path=(alpha, sigma), shape=(DIM,), interval=(0.0, 0.999), fingerprint="0", name="lin")
    solver = bnsbench.train(model, nfe=4, pairs=64, cache=tmp_path)
    solver.save(tmp_path / "lin4.json")
    again = bnsbench.load_solver(tmp_path / "lin4.json")
    assert isinstance(again, bnsbench.NonStationarySolver)
    board = bnsbench.compare(model, [str(tmp_path / "lin4.json"), "midpoint"], nfe=4, samples=64, cache=tmp_path)
    assert board["psnr"][0] > board["psnr"][1] + 6
