"""The plugin's metrics keep bnsbench's contract, and a run on a pipeline gives their columns."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
import torchvision

from bnsbench.testing import check_metric

TOLD = Path(__file__).with_name("told.py")

SUITE = """
samples = 2
nfe = [2]
solvers = ["euler", "midpoint"]

[[models]]
name = "diffusers[path={folder},prompts=prompts.txt]"
guidance = [1.0]
tolerance = 1e-2
"""


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("alexnet") / "alexnet.pth"
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), file)
    return file


@pytest.mark.parametrize(
    ("metric", "model"),
    [
        ("clip-score[path={clip}]", "pictures"),
        ("pick-score[path={clip},processor={clip}]", "pictures"),
        ("lpips[backbone={alexnet}]", "pictures"),
        ("clap-score[path={clap}]", "sounds"),
        ("clap-score[path={clap}]", "stereo"),
        ("fad-clap[path={clap}]", "sounds"),
        ("fad-clap-gt[path={clap}]", "stereo"),
    ],
)
def test_conformance(metric, model, clip_folder, clap_folder, alexnet):
    selector = metric.format(clip=clip_folder, clap=clap_folder, alexnet=alexnet)
    report = check_metric(selector, on=model, plugins=[TOLD])
    report.raise_if_failed()


def test_columns_of_a_run(bnsbench, tiny, clip_folder, clap_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("prompts.txt").write_text("a red fox\ntwo boats\n")
    clip, pick, clap = (
        f"clip-score[path={clip_folder}]",
        f"pick-score[path={clip_folder}]",
        f"clap-score[path={clap_folder}]",
    )
    Path("tiny.toml").write_text(SUITE.format(folder=tiny("sd")))
    done = bnsbench("run", "tiny.toml", "--metric", f"{clip},{pick},{clap}", "--executor", "local")
    assert done == 0, capsys.readouterr()
    rows = list(csv.DictReader(Path("runs/tiny/leaderboard.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert all(0 < float(row[clip]) <= 100 and float(row[pick]) for row in rows)
    assert [row[clap] for row in rows] == ["", ""]
    capsys.readouterr()
