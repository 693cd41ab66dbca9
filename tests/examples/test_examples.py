"""The example plugins: sound, correct, and runnable as their README says."""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from bnsbench.cli import main
from bnsbench.contract import PluginHost
from bnsbench.flows.fields import CountingField, FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.flows.predictions import to_velocity
from bnsbench.metrics.base import SampleSet
from bnsbench.models.mixtures import ring8
from bnsbench.nonstationary.tracing import trace

EXAMPLES = Path(__file__).parents[2] / "plugins" / "examples"
FILES = sorted(EXAMPLES.glob("*_*.py"))


@pytest.fixture(autouse=True)
def _without_installed_plugins(monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")


@pytest.fixture
def host():
    return PluginHost.load(FILES)


def commands() -> list[str]:
    """The commands of the README for plugins that need no other package, continuation lines joined."""
    text = (EXAMPLES / "README.md").read_text().replace("\\\n", " ")
    return [each for each in re.findall(r"^    (bnsbench .*)$", text, re.M) if "leapfrog" in each]


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(words)
    return int(done.value.code or 0)


def test_nothing_is_wrong_with_them(host):
    assert len(FILES) == 3
    assert host.problems == ()
    assert {plugin.name for plugin in host.plugins} == {"builtin", *(file.stem for file in FILES)}


def test_solver_example_is_short():
    assert len((EXAMPLES / "leapfrog_solver.py").read_text().splitlines()) <= 25


class TestLeapfrog:
    @pytest.fixture
    def leapfrog(self, host):
        return host.solver("leapfrog").make()

    def test_rows_are_those_of_the_book(self, leapfrog):
        table = trace(lambda field, x0: leapfrog(field, x0, 4), CondOT())
        expected = [[0.25, 0, 0, 0], [0, 0.5, 0, 0], [0.25, 0, 0.5, 0], [0, 0.5, 0, 0.5]]
        assert table.b.tolist() == expected
        assert table.a.tolist() == [1.0] * 4

    def test_order_is_the_declared_one(self, host, leapfrog):
        """On x' = x cos(3 t), whose solution is x_0 exp(sin(3) / 3)."""
        field = FunctionField(lambda t, x: x * torch.cos(3 * t), CondOT())
        x0 = torch.ones(1, dtype=torch.float64)
        exact = math.exp(math.sin(3.0) / 3)
        errors = [abs(float(leapfrog(field, x0, nfe)) - exact) for nfe in (64, 128, 256)]
        slopes = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
        assert slopes == pytest.approx([host.solver("leapfrog").spec.order] * 2, abs=0.15)

    @pytest.mark.parametrize("nfe", [1, 2, 7])
    def test_budget(self, leapfrog, nfe):
        field = CountingField(ring8().field(None))
        leapfrog(field, torch.randn(3, 2, dtype=torch.float64), nfe)
        assert field.nfe == nfe

    def test_listing_it_does_not_load_torch(self):
        assert not re.search(
            r"^(import torch|from bnsbench\.(flows|solvers))", (EXAMPLES / "leapfrog_solver.py").read_text(), re.M
        )


class TestSpiral:
    def test_prediction_is_the_posterior_mean(self, host):
        """By quadrature over the data's density, on a grid of the plane."""
        model = host.model("spiral[blur=0.2]").make()
        t = torch.tensor(0.6, dtype=torch.float64)
        x = torch.tensor([[0.3, -0.2], [-0.5, 0.4]], dtype=torch.float64)
        axis = torch.linspace(-3, 3, 601, dtype=torch.float64)
        grid = torch.cartesian_prod(axis, axis)
        density = torch.exp(-0.5 * torch.cdist(grid, model.centres) ** 2 / 0.2**2).sum(1)
        weights = density * torch.exp(-0.5 * (torch.cdist(x, 0.6 * grid) / 0.4) ** 2)
        expected = weights @ grid / weights.sum(1, keepdim=True)
        assert torch.allclose(model.predict(t, x, None), expected, atol=1e-8)

    def test_samples_have_the_data_s_moments(self, host):
        from bnsbench.truth.ground_truth import solve

        model = host.model("spiral").make()
        x0 = torch.randn(2000, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        samples, _ = solve(model.field(None), x0, 1e-5)
        data = model.reference().samples
        assert torch.allclose(samples.mean(0), data.mean(0), atol=0.05)
        assert torch.allclose(samples.T.cov(), data.T.cov(), atol=0.03)

    def test_fingerprint_follows_the_parameters(self, host):
        selectors = ("spiral", "spiral[turns=3]", "spiral[blur=0.1]")
        assert len({host.model(text).make().fingerprint() for text in selectors}) == 3

    def test_precision_can_be_chosen(self, host):
        model = host.model("spiral").make().to("cpu", torch.float32)
        t, x = torch.tensor(0.5, dtype=torch.float64), torch.randn(4, 2)
        assert to_velocity(model.path, "x", t, x, model.predict(t, x, None)).dtype == torch.float32


def test_misses_are_counted(host):
    truth = torch.zeros(4, 2, dtype=torch.float64)
    samples = truth + torch.tensor([0.0, 0.01, 1.0, 2.0], dtype=torch.float64)[:, None]
    sample_set = SampleSet(samples, truth, None, 2.0, ring8())
    # 10 log10(4 / e^2) is 46 dB for an error of 0.01, 6 dB for 1 and 0 dB for 2.
    assert host.metric("misses").make()(sample_set).value == 0.5
    assert host.metric("misses[below=5]").make()(sample_set).per_sample == [0.0, 0.0, 0.0, 1.0]
    assert host.metric("misses[below=50]").make()(sample_set).value == 0.75


@pytest.mark.parametrize("command", [text for text in commands() if " run " not in text])
def test_commands_of_the_readme(command, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(EXAMPLES)
    words = [str(tmp_path / word) if word == "pictures" else word for word in shlex.split(command)[1:]]
    assert run(*words) == 0
    assert "leapfrog" in capsys.readouterr().out


def test_run_of_the_readme(monkeypatch, tmp_path):
    """All three together on fewer samples; an edited file runs only its own cells again."""
    [command] = [text for text in commands() if " run " in text]
    for file in FILES:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    words = [*shlex.split(command)[1:], "--samples", "40", "--quiet"]
    assert run(*words) == 0
    rows = list(csv.DictReader((tmp_path / "runs/quick/leaderboard.csv").read_text().splitlines()))
    assert {(row["solver"], row["nfe"]) for row in rows} == {
        (solver, nfe) for solver in ("euler", "midpoint", "leapfrog", "leapfrog[grid=chebyshev]") for nfe in ("8", "16")
    }
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["model"] for row in rows} == {"spiral"}
    assert all(0.0 <= float(row["misses[below=25.0]"]) <= 1.0 for row in rows)
    psnr = {(row["solver"], row["nfe"]): float(row["psnr"]) for row in rows}
    assert psnr["leapfrog", "16"] > psnr["leapfrog", "8"]
    assert psnr["leapfrog", "16"] > psnr["euler", "16"]


def test_edited_solver_runs_its_cells_again(monkeypatch, tmp_path, capsys):
    file = tmp_path / "leapfrog_solver.py"
    file.write_bytes((EXAMPLES / "leapfrog_solver.py").read_bytes())
    monkeypatch.chdir(tmp_path)
    words = "run quick --plugin leapfrog_solver.py --model ring8 --guidance 0 --solver euler,leapfrog --nfe 4 --metric psnr"
    for expected in (2, 0):
        assert run(*words.split(), "--samples", "8", "--json") == 0
        assert json.loads(capsys.readouterr().out)["ran"] == expected
    file.write_text(file.read_text() + "\n")
    assert run(*words.split(), "--samples", "8", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ran"] == 1
