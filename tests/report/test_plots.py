from __future__ import annotations

import xml.etree.ElementTree as ET

import matplotlib.image

from bnsbench.report.leaderboard import leaderboard
from bnsbench.report.plots import draw_metric

SOLVERS = ("euler", "ab2", "unipc", "bns")


def _texts(file):
    root = ET.fromstring(file.read_text())  # noqa: S314 (our own file)
    return ["".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_panels_and_legend_name_everything(make_records, tmp_path):
    values = {(solver, n): (20.0 + n + k, 1.0) for k, solver in enumerate(SOLVERS) for n in (4, 8)}
    draw_metric(leaderboard(make_records(values, models=("ring8", "aniso5"))), "psnr", tmp_path / "psnr")
    texts = _texts(tmp_path / "psnr.svg")
    assert {"ring8, w = 0", "aniso5, w = 0", "NFE", "PSNR [dB]", *SOLVERS} <= set(texts)
    assert [texts.count(solver) for solver in SOLVERS] == [1, 1, 1, 1]
    # In both panels the learned solver and the best classic are named with their last values.
    assert [texts.count(f"{name} dB at 8") for name in ("bns  31.00", "unipc  30.00")] == [2, 2]
    image = matplotlib.image.imread(tmp_path / "psnr.png")
    assert min(image.shape[:2]) > 400
    assert image[..., :3].std() > 0.01


def test_nothing_to_draw_draws_nothing(make_records, tmp_path):
    frame = leaderboard([*make_records({("euler", 4): None})])
    frame["psnr"] = float("nan")
    draw_metric(frame, "psnr", tmp_path / "psnr")
    assert list(tmp_path.iterdir()) == []


def test_of_many_learned_solvers_a_panel_names_its_best(make_records, tmp_path):
    learned = [f"bns[pairs={count}]" for count in (16, 32, 64, 128, 256)]
    values = {(solver, n): (20.0 + n + k, 1.0) for k, solver in enumerate(["euler", *learned]) for n in (4, 8)}
    frame = leaderboard(make_records(values, models=("ring8",)))
    frame["train_forwards"] = frame["solver"].str.startswith("bns").astype(int)
    draw_metric(frame, "psnr", tmp_path / "psnr")
    named = [text.rsplit("  ", 1)[0] for text in _texts(tmp_path / "psnr.svg") if text.endswith("dB at 8")]
    assert named == [*reversed(learned[-3:]), "euler"]
