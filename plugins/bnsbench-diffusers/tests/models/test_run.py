"""A tiny pipeline through the commands: a run, a training, and samples from what was trained."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import scipy.io.wavfile

from bnsbench.plugin import SolverArtefact
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


SOUNDS = f"""
samples = 2
batch = 2
nfe = [4]
solvers = ["ddim", "diffusers[scheduler=CosineDPMSolverMultistep]", "{TRAINED}"]
metrics = ["psnr", "snr", "waveform-snr", "log-spectral"]

[[models]]
name = "diffusers[path=pipeline,prompts=prompts.txt]"
tolerance = 1e-2
"""


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Work in a folder with a tiny pipeline of a kind."""

    def make(kind: str) -> None:
        make_tiny_pipeline(kind, tmp_path / "pipeline")
        monkeypatch.chdir(tmp_path)

    return make


def test_from_a_folder_to_a_trained_solver(bnsbench, beside, tmp_path, capsys):
    beside("ddpm")
    (tmp_path / "tiny.toml").write_text(SUITE)
    assert bnsbench("run", "tiny.toml", "--executor", "local") == 0, capsys.readouterr()
    rows = list(csv.DictReader((tmp_path / "runs/tiny/leaderboard.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["ok"] * 4
    psnr = {row["solver"]: float(row["psnr"]) for row in rows}
    assert psnr[TRAINED] > max(psnr["euler"], psnr["ddim"], psnr["dpm++2m"])
    assert (tmp_path / "runs/tiny/previews").is_dir()

    model = "diffusers[path=pipeline]"
    assert bnsbench("train", model, "--nfe", "4", "--solver", TRAINED, "--output", "bns4.json") == 0, capsys.readouterr()
    artefact = SolverArtefact.load(tmp_path / "bns4.json")
    assert artefact.fingerprint == diffusers_model("pipeline").fingerprint()

    assert bnsbench("sample", model, "--solver", "bns4.json", "--count", "2", "--output", "seen") == 0, capsys.readouterr()
    assert len(list((tmp_path / "seen").glob("*.png"))) >= 3


@pytest.mark.parametrize(("kind", "channels"), [("audioldm2", 1), ("stable-audio", 2)])
def test_pipelines_of_sound_are_heard(kind, channels, bnsbench, beside, tmp_path, capsys):
    beside(kind)
    if kind == "audioldm2":  # with epsilon, random weights make an equation that takes a minute to solve
        scheduler = tmp_path / "pipeline/scheduler/scheduler_config.json"
        config = json.loads(scheduler.read_text())
        scheduler.write_text(json.dumps({**config, "prediction_type": "v_prediction"}))
    (tmp_path / "prompts.txt").write_text("a red fox in the snow\ntwo boats\n")
    (tmp_path / "tiny.toml").write_text(SOUNDS)
    bnsbench("run", "tiny.toml", "--executor", "local")
    rows = {row["solver"]: row for row in csv.DictReader((tmp_path / "runs/tiny/leaderboard.csv").read_text().splitlines())}
    ddim, stochastic, trained = rows.values()
    assert [row["status"] for row in rows.values()] == ["ok", "skipped", "ok"], capsys.readouterr()
    assert "stochastic" in stochastic["reason"]
    for metric in ("psnr", "snr", "waveform-snr"):
        assert float(trained[metric]) > float(ddim[metric])
    assert float(trained["log-spectral"]) < float(ddim["log-spectral"])
    previews = tmp_path / "runs/tiny/previews"
    assert len(list(previews.glob("*.png"))) == 2
    assert len(list(previews.glob("*/00?.wav"))) == 4

    model = "diffusers[path=pipeline,prompts=prompts.txt]"
    (file,) = (tmp_path / "runs/tiny/solvers").glob("*.json")
    words = ("--solver", str(file), "--prompt", "a bell", "--count", "2", "--output", "heard")
    assert bnsbench("sample", model, *words) == 0, capsys.readouterr()
    assert (tmp_path / "heard/overview.png").is_file()
    rate, sound = scipy.io.wavfile.read(tmp_path / "heard/001.wav")
    assert (rate, sound.ndim) == (16000, channels)
    assert sound.std() > 0


def test_a_pipeline_that_cannot_be_guided_is_skipped(bnsbench, beside, tmp_path, capsys):
    beside("ddpm")
    words = ("--solver", "euler", "--nfe", "2", "--samples", "2", "--guidance", "1", "--metric", "psnr")
    bnsbench("run", "quick", "--model", "diffusers[path=pipeline]", *words, "--executor", "local")
    (row,) = csv.DictReader((tmp_path / "runs/quick/leaderboard.csv").read_text().splitlines())
    assert row["status"] == "skipped"
    assert "unconditional" in row["reason"]
    capsys.readouterr()


def test_an_unknown_pipeline_is_one_sentence(bnsbench, beside, capsys):
    beside("ddpm")
    assert bnsbench("sample", "diffusers[path=elsewhere]", "--solver", "euler", "--nfe", "2", "--output", "seen") == 2
    assert "There is no folder 'elsewhere'" in capsys.readouterr().err
