"""A tiny pipeline through the commands: a run, a training, and samples from what was trained."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from bnsbench.cli import main
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench_diffusers.models.registry import diffusers_model
from bnsbench_diffusers.testing import make_tiny_pipeline

TRAINED = "bns[iterations=2,pairs=128]"

SUITE = f"""
samples = 4
batch = 4
nfe = [4]
solvers = ["euler", "ddim", "dpm++2m", "{TRAINED}"]
metrics = ["psnr", "ssim"]

[[models]]
name = "diffusers[path=pipeline]"
tolerance = 1e-2
"""


@pytest.fixture
def bnsbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command in a folder with a tiny pipeline."""
    make_tiny_pipeline("ddpm", tmp_path / "pipeline")
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as end:
            main(list(words))
        return int(end.value.code or 0)

    return run


def test_from_a_folder_to_a_trained_solver(bnsbench, tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text(SUITE)
    assert bnsbench("run", "tiny.toml", "--executor", "local") == 0, capsys.readouterr()
    rows = list(csv.DictReader((tmp_path / "results/tiny/leaderboard.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["ok"] * 4
    psnr = {row["solver"]: float(row["psnr"]) for row in rows}
    assert psnr[TRAINED] > max(psnr["euler"], psnr["ddim"], psnr["dpm++2m"])
    assert (tmp_path / "results/tiny/previews").is_dir()

    model = "diffusers[path=pipeline]"
    assert bnsbench("train", model, "--nfe", "4", "--solver", TRAINED, "--output", "bns4.json") == 0, capsys.readouterr()
    artefact = SolverArtefact.load(tmp_path / "bns4.json")
    assert artefact.fingerprint == diffusers_model("pipeline").fingerprint()

    assert bnsbench("sample", model, "--solver", "bns4.json", "--count", "2", "--output", "seen") == 0, capsys.readouterr()
    assert len(list((tmp_path / "seen").glob("*.png"))) >= 3


def test_a_pipeline_that_cannot_be_guided_is_skipped(bnsbench, tmp_path, capsys):
    words = ("--solver", "euler", "--nfe", "2", "--samples", "2", "--guidance", "1", "--metric", "psnr")
    bnsbench("run", "quick", "--model", "diffusers[path=pipeline]", *words, "--executor", "local")
    (row,) = csv.DictReader((tmp_path / "results/quick/leaderboard.csv").read_text().splitlines())
    assert row["status"] == "skipped"
    assert "unconditional" in row["reason"]
    capsys.readouterr()


def test_an_unknown_pipeline_is_one_sentence(bnsbench, capsys):
    assert bnsbench("sample", "diffusers[path=elsewhere]", "--solver", "euler", "--nfe", "2", "--output", "seen") == 2
    assert "There is no folder 'elsewhere'" in capsys.readouterr().err
