"""The plugin for posteriors: the true posterior by quadrature, and what sbi trains where it is installed."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from bnsbench.cli import main
from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from bnsbench.plugin import solve
from bnsbench.testing import check_model
from tests.recipes.page import package

FILE = Path(__file__).parents[2] / "plugins" / "examples" / "posterior.py"
SMALL = "posterior[simulations=2000,epochs=40]"


def made(selector: str) -> Any:
    return PluginHost.load([FILE]).model(selector).make()


@pytest.fixture
def plugin() -> ModuleType:
    names: dict[str, Any] = {"__name__": "posterior", "__file__": str(FILE)}
    exec(compile(FILE.read_text(encoding="utf-8"), str(FILE), "exec"), names)  # noqa: S102
    module = ModuleType("posterior")
    vars(module).update(names)
    return module


@pytest.fixture
def stream() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def residual(theta: Tensor, x: Tensor) -> Tensor:
    """The point of the moon, seen from the middle of its circle, that takes theta [n, 2] to x [n, 2]."""
    moved = torch.stack([(theta[:, 0] + theta[:, 1]).abs(), theta[:, 0] - theta[:, 1]], dim=1) / math.sqrt(2)
    return x + moved - torch.tensor([0.25, 0.0])


def density(theta: Tensor, x: Tensor) -> Tensor:
    """The likelihood of theta [n, 2], but for a factor: radius N(0.1, 0.01^2), angle uniform on the right half."""
    point = residual(theta, x)
    radius = point.norm(dim=1)
    return torch.exp(-0.5 * ((radius - 0.1) / 0.01) ** 2) / radius * (point[:, 0] >= 0)


@pytest.mark.parametrize("x", [(0.0, 0.0), (-0.9, 0.2)], ids=["two moons", "cut by the prior"])
def test_true_posterior_by_quadrature(plugin: ModuleType, stream: torch.Generator, x: tuple[float, float]) -> None:
    seen = torch.tensor([x])
    axis = torch.linspace(-1, 1, 1501)
    grid = torch.cartesian_prod(axis, axis)
    weights = density(grid, seen).double()
    weights /= weights.sum()
    theta = plugin.exact(seen.repeat(20_000, 1), stream).double()
    assert theta.abs().max() <= 1
    for moment in (lambda p: p[:, 0], lambda p: p[:, 1] ** 2, lambda p: p[:, 0] * p[:, 1], lambda p: (p.sum(1) > 0) * 1.0):
        expected = float(weights @ moment(grid.double()).double())
        assert float(moment(theta).double().mean()) == pytest.approx(expected, abs=0.02)


def test_simulations_lie_on_the_moon(plugin: ModuleType, stream: torch.Generator) -> None:
    theta = plugin.prior(5000, stream)
    assert theta.mean(0).abs().max() < 0.03
    assert theta.var(0) == pytest.approx(torch.full((2,), 1 / 3), abs=0.02)
    point = residual(theta, plugin.simulate(theta, stream))
    assert float(point.norm(dim=1).mean()) == pytest.approx(0.1, abs=1e-3)
    assert float(point.norm(dim=1).std()) == pytest.approx(0.01, abs=1e-3)
    assert float(point[:, 0].min()) > -1e-6


def test_without_sbi(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sbi"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sbi", None)
    with pytest.raises(UsageError, match=r"trained by the package sbi, which cannot be imported .* 'pip install sbi'"):
        made(SMALL)


@pytest.mark.filterwarnings("ignore")
class TestTrained:
    @pytest.fixture(autouse=True)
    def _needs_sbi(self) -> None:
        package("sbi.inference")

    def test_it_is_trained_once_and_leaves_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path / "cache"))
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        state = torch.get_rng_state()
        tiny = "posterior[simulations=300,epochs=2]"
        first = made(tiny).fingerprint()
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("Training the posterior, once")
        assert made(tiny).fingerprint() == first
        assert capsys.readouterr() == ("", "")
        assert torch.equal(torch.get_rng_state(), state)
        assert list(Path().iterdir()) == []
        [file] = (tmp_path / "cache/posterior").glob("*.safetensors")
        file.unlink()
        assert made(tiny).fingerprint() == first  # the same seed makes the same network
        assert made("posterior[simulations=300,epochs=2,seed=1]").fingerprint() != first

    def test_samples_are_near_the_moons(self) -> None:
        model = made(SMALL)
        x = model.conditions(torch.arange(512))
        theta, _ = solve(model.field(x), torch.randn(512, 2), 1e-5)
        assert float(residual(theta, x).square().sum(1).mean().sqrt()) < 0.4  # 0.1 if it were exact, 1.3 of the prior
        assert 0.35 < float((theta.sum(1) > 0).float().mean()) < 0.65

    def test_reference_is_of_the_observations(self) -> None:
        model = made(SMALL)
        x = model.conditions(torch.arange(256))
        point = residual(model.reference().samples, x.repeat(8, 1))
        assert float((point.norm(dim=1) - 0.1).abs().max()) < 0.06
        assert torch.equal(model.conditions(torch.tensor([3, 259])), x[[3, 3]])

    def test_it_keeps_the_contract(self) -> None:
        check_model(SMALL, plugins=[FILE]).raise_if_failed()

    def test_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        words = (
            f"run quick --plugin {FILE} --model {SMALL} --solver euler,midpoint --nfe 16 --metric psnr --samples 32 --quiet"
        )
        with pytest.raises(SystemExit) as done:
            main(words.split())
        assert not done.value.code
        rows = list(csv.DictReader((tmp_path / "runs/quick/leaderboard.csv").read_text().splitlines()))
        psnr = {row["solver"]: float(row["psnr"]) for row in rows if row["status"] == "ok"}
        assert psnr["midpoint"] > psnr["euler"] > 20
