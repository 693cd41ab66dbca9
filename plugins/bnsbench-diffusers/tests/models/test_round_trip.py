"""Pipelines that read text, from their folder through a run that trains, and an export, into their own call."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from bnsbench.plugin import SolverArtefact
from bnsbench_diffusers.models.loading import load_pipeline
from bnsbench_diffusers.models.registry import diffusers_model
from bnsbench_diffusers.schedulers.nonstationary import NonStationaryScheduler
from bnsbench_diffusers.testing import make_tiny_pipeline

NFE, GUIDANCE = 3, 1.0
TRAINED = "bns[iterations=1,pairs=16]"
PROMPTS = ("a red fox", "two boats")

SUITE = f"""
samples = 4
nfe = [{NFE}]
solvers = ["diffusers[scheduler=DPMSolverMultistep]", "{TRAINED}"]

[[models]]
name = "diffusers[path=pipeline,prompts=prompts.txt]"
guidance = [{GUIDANCE}]
tolerance = 1e-1
"""


@pytest.fixture(autouse=True)
def _beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with prompts and a suite."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    (tmp_path / "suite.toml").write_text(SUITE)


def cancellation(table, field, x0):
    """Return by how much the terms of a table's states are longer than the states: so much is rounding multiplied."""
    known, x, found = [x0], x0, []
    for t, row in zip(table.times, table.rows.to(x0), strict=False):
        known.append(field(t, x))
        terms = [float(weight) * each for weight, each in zip(row, known, strict=False)]
        x = sum(terms)
        found.append(float(sum(term.norm() for term in terms) / x.norm()))
    return max(found)


@pytest.mark.parametrize("kind", ["sd", "sd-v", "sdxl", "pixart-sigma", "sd3"])
def test_into_the_pipeline_and_back(kind, bnsbench, tmp_path, capsys):
    make_tiny_pipeline(kind, tmp_path / "pipeline")
    assert bnsbench("run", "suite.toml", "--executor", "local", "--quiet") == 0, capsys.readouterr()
    rows = list(csv.DictReader((tmp_path / "runs/suite/leaderboard.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["ok", "ok"]

    (trained,) = (tmp_path / "runs/suite/solvers").glob("*.json")
    assert bnsbench("solver", "export", str(trained), "scheduler", "--to", "diffusers") == 0, capsys.readouterr()
    capsys.readouterr()

    pipe, model = load_pipeline(tmp_path / "pipeline"), diffusers_model("pipeline", prompts="prompts.txt")
    noise = torch.randn(2, *model.shape)
    scheduler = NonStationaryScheduler.from_pretrained("scheduler")
    with torch.no_grad():
        field = model.field(model.conditions(torch.arange(2)), GUIDANCE)
        # The pipeline scales noise to the beginning of the path, where a little of the data is left.
        begin = noise * scheduler.init_noise_sigma
        table = SolverArtefact.load(trained).solver
        expected, cancelled = table(field, begin), cancellation(table, field, begin)
    scheduler.check(pipe.scheduler)
    pipe.scheduler = scheduler
    pipe.set_progress_bar_config(disable=True)
    plain = {"use_resolution_binning": False, "clean_caption": False} if kind.startswith("pixart") else {}
    found = pipe(
        list(PROMPTS),
        latents=noise.clone(),
        num_inference_steps=NFE,
        guidance_scale=1 + GUIDANCE,
        output_type="latent",
        **plain,
    ).images
    assert float((found - expected).norm() / expected.norm()) < 1e-6 * cancelled
