from __future__ import annotations

import xml.etree.ElementTree as ET

import matplotlib.image

from bnsbench.report import plots
from bnsbench.report.leaderboard import leaderboard
from bnsbench.report.plots import draw_metric, draw_profile

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


def test_long_names_are_not_cut_off(make_records, tmp_path):
    values = {(solver, n): (20.0 + n + k, 1.0) for k, solver in enumerate(SOLVERS) for n in (4, 8)}
    frame = leaderboard(make_records(values, models=("ring8", "aniso5")))
    frame["solver"] = frame["solver"].map(lambda name: f"{name}[decoupled=true,objective=soft-features]")
    draw_metric(frame, "psnr", tmp_path / "psnr")
    image = matplotlib.image.imread(tmp_path / "psnr.png")
    for edge in (image[:, 0], image[:, -1], image[0], image[-1]):
        assert edge[..., :3].min() > 0.8  # no ink, but for a shade


def test_of_very_many_fields_the_first_are_drawn_and_the_picture_says_so(make_records, tmp_path, monkeypatch):
    values = {("euler", 4): (20.0, 1.0), ("bns", 4): (30.0, 1.0)}
    frame = leaderboard([record for seed in range(3) for record in make_records(values, seed=seed)])
    for most, said in ((2, True), (3, False)):
        monkeypatch.setattr(plots, "MOST_PANELS", most)
        draw_metric(frame, "psnr", tmp_path / "psnr")
        texts = _texts(tmp_path / "psnr.svg")
        assert any(text.startswith("The first 2 of 3 fields") for text in texts) == said
        assert texts.count("bns  30.00 dB at 4") == most


def test_nothing_to_draw_draws_nothing(make_records, tmp_path):
    frame = leaderboard([*make_records({("euler", 4): None})])
    frame["psnr"] = float("nan")
    draw_metric(frame, "psnr", tmp_path / "psnr")
    assert list(tmp_path.iterdir()) == []


def test_of_many_learned_solvers_a_panel_names_its_best(make_records, tmp_path):
    learned = [f"bns[pairs={count}]" for count in (16, 32, 64, 128, 256)]
    values = {(solver, n): (20.0 + n + k, 1.0) for k, solver in enumerate(["euler", *learned]) for n in (4, 8)}
    frame = leaderboard(make_records(values, models=("ring8",)))
    frame["kind"] = frame["solver"].str.startswith("bns").map({True: "learned", False: "classic"})
    draw_metric(frame, "psnr", tmp_path / "psnr")
    named = [text.rsplit("  ", 1)[0] for text in _texts(tmp_path / "psnr.svg") if text.endswith("dB at 8")]
    assert named == [*reversed(learned[-3:]), "euler"]


def test_best_classic_may_be_tuned_but_not_direct(make_records, tmp_path):
    solvers = ("euler", "ab2", "unipc", "bns")
    frame = leaderboard(make_records({(solver, n): (20.0 + n + k, 1.0) for k, solver in enumerate(solvers) for n in (4, 8)}))
    kinds = {"euler": "classic", "ab2": "tuned", "unipc": "direct", "bns": "learned"}
    frame["kind"] = frame["solver"].map(kinds)
    frame["train_forwards"] = 100
    draw_metric(frame, "psnr", tmp_path / "psnr")
    named = [text.rsplit("  ", 1)[0] for text in _texts(tmp_path / "psnr.svg") if text.endswith("dB at 8")]
    assert named == ["bns", "ab2"]


def test_profile_names_its_best_and_has_a_panel_for_each_shared_target(make_records, tmp_path):
    values = {(solver, n): (20.0 + n * (k + 3), 1.0) for k, solver in enumerate(SOLVERS) for n in (4, 8, 16)}
    frame = leaderboard([*make_records(values, models=("ring8", "aniso5")), *make_records(values, seed=1)])
    draw_profile(frame, "psnr", tmp_path / "profile")
    texts = _texts(tmp_path / "profile.svg")
    # At 16 NFE only bns has what it has there.
    assert [text for text in texts if text.startswith("The best solver's PSNR")] == [
        "The best solver's PSNR at 4 NFE, 3 fields",
        "The best solver's PSNR at 8 NFE, 3 fields",
    ]
    assert [text for text in texts if "within" in text] == [
        *("bns  100% within 1.1, 100% within 2", "unipc  0% within 1.1, 100% within 2"),
        *("bns  100% within 1.1, 100% within 2", "unipc  0% within 1.1, 100% within 2"),
    ]
    assert {"0%", "100%", "1", "1.5", "2", *SOLVERS} <= set(texts)
    image = matplotlib.image.imread(tmp_path / "profile.png")
    assert min(image.shape[:2]) > 400
    assert image[..., :3].std() > 0.01


def test_profile_of_few_solvers_or_fields_is_not_drawn(make_records, tmp_path):
    few = {(solver, n): (20.0 + n, 1.0) for solver in SOLVERS[:2] for n in (4, 8)}
    frame = leaderboard([*make_records(few, models=("ring8", "aniso5")), *make_records(few, seed=1)])
    draw_profile(frame, "psnr", tmp_path / "profile")
    many = {(solver, n): (20.0 + n, 1.0) for solver in SOLVERS for n in (4, 8)}
    draw_profile(leaderboard(make_records(many, models=("ring8", "aniso5"))), "psnr", tmp_path / "profile")
    assert list(tmp_path.iterdir()) == []
