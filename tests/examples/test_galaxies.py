"""The plugin for galaxygrad: by a package of random weights in the same layout, and by the package where it is installed."""

from __future__ import annotations

import csv
import io
import os
from importlib.metadata import PackageNotFoundError
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bnsbench.cli import main
from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from bnsbench.plugin import time_grid
from bnsbench.process.machine import installed_version
from bnsbench.suite.suitefile import find_suite, read_suite
from bnsbench.testing import check_model

FILE = Path(__file__).parents[2] / "plugins" / "examples" / "galaxies.py"
NAME = "eqx_hsc_ScoreNet32.eqx"

needs_package = pytest.mark.skipif(
    installed_version("galaxygrad") is None and "galaxygrad" not in os.environ.get("BNSBENCH_RECIPES", ""),
    reason="galaxygrad is not installed: tox -e recipes",
)


def model(selector: str = "galaxies") -> Any:
    return PluginHost.load([FILE]).model(selector).make()


def leaves(side: int, seed: int = 0) -> list[np.ndarray]:
    """Random weights in the order in which equinox keeps those of the package's networks."""
    patches, channels = (side // 4) ** 2, 64
    perceptrons = [
        [(512, width), (512,), (width, 512), (width,)] for width in (patches, channels)
    ]  # of patches, then of channels
    norms = [(channels, patches)] * 2 + [(patches, channels)] * 2
    block = [*perceptrons[0], *perceptrons[1], *norms]
    shapes = [(64, 2, 4, 4), (64, 1, 1), (1, 64, 4, 4), (1, 1, 1), *block * 4, (64, patches), (64, patches)]
    stream = np.random.default_rng(seed)
    weights = [0.1 * stream.standard_normal(shape).astype(np.float32) for shape in shapes]
    return [*weights, np.array(10.0)]


def write(file: Path, arrays: list[np.ndarray]) -> None:
    with file.open("wb") as stream:
        for array in arrays:
            np.save(stream, array)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of random weights; returns the folder of its files."""
    (tmp_path / "galaxygrad").mkdir()
    facts = tmp_path / "galaxygrad-0.1.9.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: galaxygrad\nVersion: 0.1.9\n")
    write(tmp_path / "galaxygrad" / NAME, leaves(32))
    write(tmp_path / "galaxygrad" / "eqx_lsst_ScoreNet60.eqx", leaves(60))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "galaxygrad"


def score(arrays: list[np.ndarray], image: np.ndarray, tau: float) -> np.ndarray:
    """The network for one image [1, side, side] by its formulas, in float64."""
    rest = iter([array.astype(float) for array in arrays[:-1]])
    side = image.shape[-1]

    def norm(y: np.ndarray) -> np.ndarray:
        return (y - y.mean()) / np.sqrt(y.var() + 1e-5) * weight[0] + weight[1]

    def perceptron(y: np.ndarray, w: list[np.ndarray]) -> np.ndarray:
        return np.maximum(y @ w[0].T + w[1], 0) @ w[2].T + w[3]

    cut, cut_bias, join, join_bias = (next(rest) for _ in range(4))
    both = np.concatenate([image, np.full_like(image, tau / arrays[-1])])
    pieces = both.reshape(2, side // 4, 4, side // 4, 4)
    y = (np.einsum("kcab,ciajb->kij", cut, pieces) + cut_bias).reshape(64, -1)
    for _ in range(4):
        patch, channel, *norms = ([next(rest) for _ in range(count)] for count in (4, 4, 2, 2))
        weight = norms[0]
        y = y + perceptron(norm(y), patch)
        y = y.T
        weight = norms[1]
        y = (y + perceptron(norm(y), channel)).T
    weight = [next(rest) for _ in range(2)]
    grid = norm(y).reshape(64, side // 4, side // 4)
    return np.einsum("kab,kij->iajb", join[0, :, ::-1, ::-1], grid).reshape(1, side, side) + join_bias


class TestOfRandomWeights:
    @pytest.mark.parametrize(("survey", "side"), [("hsc-32", 32), ("lsst-60", 60)])
    def test_prediction_is_the_noise_that_the_score_implies(self, package: Path, survey: str, side: int) -> None:
        galaxies = model(f"galaxies[survey={survey}]")
        assert galaxies.shape == (1, side, side)
        x = torch.randn(2, 1, side, side)
        t = torch.tensor([0.2, 0.95], dtype=torch.float64)
        found = galaxies.predict(t, x, None)
        for i, tau in enumerate((8.0, 0.5)):
            expected = -np.sqrt(1 - np.exp(-tau)) * score(leaves(side), x[i].double().numpy(), tau)
            assert np.abs(expected).max() > 0.1
            assert np.allclose(found[i].numpy(), expected, atol=1e-5)

    def test_velocity_is_that_of_the_probability_flow(self, package: Path) -> None:
        """dx/dtau = -(x + score) / 2, and tau = 10 (1 - t)."""
        galaxies = model()
        x = torch.randn(1, 1, 32, 32, dtype=torch.float64)
        found = galaxies.field(None)(torch.tensor(0.7, dtype=torch.float64), x)
        expected = 5 * (x[0].numpy() + score(leaves(32), x[0].numpy(), 3.0))
        assert np.allclose(found[0].numpy(), expected, atol=1e-4)

    def test_fingerprint_follows_the_weights(self, package: Path) -> None:
        before, other = model().fingerprint(), model("galaxies[survey=lsst-60]").fingerprint()
        assert model().fingerprint() == before != other
        write(package / NAME, leaves(32, seed=1))
        assert model().fingerprint() != before

    def test_images_are_between_minus_one_and_one(self, package: Path) -> None:
        images = model().decode(torch.tensor([-9.0, -0.5, 3.5, 7.5, 99.0]))
        assert images.tolist() == [-1.0, -1.0, 0.0, 1.0, 1.0]

    @pytest.mark.parametrize(
        ("arrays", "said"),
        [
            (leaves(32)[:-1], "it holds 54 arrays in place of 55"),
            ([*leaves(32)[:-1], np.array([print], dtype=object)], "allow_pickle=False"),
        ],
        ids=["short", "pickled"],
    )
    def test_other_files_are_refused(self, package: Path, arrays: list[np.ndarray], said: str) -> None:
        write(package / NAME, arrays)
        with pytest.raises(UsageError, match=said):
            model()

    def test_cut_file_and_absent_file_are_refused(self, package: Path) -> None:
        file = package / NAME
        file.write_bytes(file.read_bytes()[:-5])
        with pytest.raises(UsageError, match=r"ScoreNet32.eqx of galaxygrad 0.1.9 cannot be read .*galaxygrad==0.1.9"):
            model()
        file.unlink()
        with pytest.raises(UsageError, match=r"cannot be read .*No such file.*galaxygrad==0.1.9"):
            model()

    def test_unknown_survey(self, package: Path) -> None:
        with pytest.raises(UsageError, match="no survey 'sdss': choose from hsc-32, hsc-64"):
            model("galaxies[survey=sdss]")


def test_the_published_results_are_those_of_the_suite() -> None:
    results = FILE.parents[2] / "results" / "galaxies"
    assert read_suite(FILE.with_suffix(".toml")) == read_suite(results / "suite.toml")
    rows = csv.DictReader((results / "leaderboard.csv").read_text().splitlines())
    assert {row["status"] for row in rows} == {"ok"}


def test_the_suite_needs_the_plugin() -> None:
    with pytest.raises(UsageError, match="needs the plugin 'galaxies'"):
        find_suite(str(FILE.with_suffix(".toml")), PluginHost.load([]))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.Distribution.from_name", absent)
    with pytest.raises(UsageError, match=r"not installed: install it by 'pip install --no-deps galaxygrad==0.1.9'"):
        model()


@needs_package
class TestOfThePackage:
    def test_it_keeps_the_contract(self) -> None:
        check_model("galaxies", plugins=[FILE]).raise_if_failed()

    @pytest.mark.parametrize("survey", ["hsc-32", "ztf-32"])
    def test_score_of_noise_is_that_of_a_normal_distribution(self, survey: str) -> None:
        galaxies = model(f"galaxies[survey={survey}]")
        x = torch.randn(16, *galaxies.shape)
        found = galaxies.network(torch.full((16,), 10.0), x)
        assert torch.corrcoef(torch.stack([found.flatten(), -x.flatten()]))[0, 1] > 0.9999

    def test_noise_is_told_from_a_galaxy(self) -> None:
        """The prediction is nearest to the noise in a state if the noise is as strong as it is told."""
        galaxies = model()
        noise = torch.randn(8, 1, 32, 32)
        errors = []
        for factor in (0.5, 1.0, 2.0):
            t = torch.tensor(0.97, dtype=torch.float64)
            x = galaxies.path.alpha(t).float() * blob() + factor * galaxies.path.sigma(t).float() * noise
            errors.append(float((galaxies.predict(t, x, None) - noise).square().mean()))
        assert min(errors) == errors[1] < 0.2

    def test_samples_are_bright_in_the_middle_and_solvers_agree(self) -> None:
        galaxies = model()
        x0 = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        coarse, fine = (midpoint(galaxies, x0, steps) for steps in (32, 64))
        low, high = galaxies.pixels
        assert float(fine.min()) > low - 0.5
        assert float(fine.max()) < high + 0.5
        middle, edge = fine[..., 12:20, 12:20].mean(), fine[..., :4, :].mean()
        assert middle > 1
        assert abs(float(edge)) < 0.2
        assert 10 * torch.log10(galaxies.data_range**2 / (coarse - fine).square().mean()) > 45

    def test_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        words = f"run quick --plugin {FILE} --model galaxies --solver ddim,dpm++2m --nfe 8 --metric psnr --samples 2 --quiet"
        with pytest.raises(SystemExit) as done:
            main(words.split())
        assert not done.value.code
        rows = list(csv.DictReader(io.StringIO((tmp_path / "runs/quick/leaderboard.csv").read_text())))
        psnr = {row["solver"]: float(row["psnr"]) for row in rows if row["status"] == "ok"}
        assert psnr["dpm++2m"] > psnr["ddim"] > 15


def blob() -> torch.Tensor:
    """A round galaxy [1, 32, 32], in the pixels of a state."""
    axis = torch.arange(32) - 15.5
    return 6 * torch.exp(-(axis**2 + axis[:, None] ** 2) / 30)[None]


def midpoint(galaxies: Any, x: torch.Tensor, steps: int) -> torch.Tensor:
    field = galaxies.field(None)
    times = time_grid("logsnr", galaxies.path, galaxies.interval, steps)
    for begin, end in pairwise(times):
        half = x + (end - begin) / 2 * field(begin, x)
        x = x + (end - begin) * field((begin + end) / 2, half)
    return x
