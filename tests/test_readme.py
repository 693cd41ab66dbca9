"""The README's numbers are those of the committed results."""

from __future__ import annotations

import re
from itertools import dropwhile, takewhile
from pathlib import Path

import pandas as pd
import pytest

from bnsbench.models.pretrain import RECIPES
from bnsbench.models.weights import read_manifest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def board() -> pd.DataFrame:
    return pd.read_csv(ROOT / "results/default/leaderboard.csv")


def table_after(heading: str, text: str = README) -> list[list[str]]:
    """Return the cells of the first Markdown table after a heading, without its head."""
    lines = text.split(heading, maxsplit=1)[1].splitlines()
    table = takewhile(lambda line: line.startswith("|"), dropwhile(lambda line: not line.startswith("|"), lines))
    return [[cell.strip(" *≈`") for cell in row.strip("|").split("|")] for row in table][2:]


def test_the_summary_follows_from_the_leaderboard(board: pd.DataFrame) -> None:
    rows = table_after("PSNR at 8 NFE, in dB:")
    fields = board[["model", "guidance"]].drop_duplicates()
    assert len(rows) == len(fields)
    for model, guidance, bns, gain, classic, best, forwards in rows:
        field = board[(board.model == model) & (board.guidance == float(guidance)) & (board.nfe == 8)]
        trained = field[field.solver == "bns"].iloc[0]
        classics = field[(field.solver != "bns") & (field.status == "ok")].sort_values("psnr")
        assert f"{trained.psnr:.1f}" == bns
        assert classics.iloc[-1].solver == classic
        assert f"{classics.iloc[-1].psnr:.1f}" == best
        assert f"+{trained.psnr - classics.iloc[-1].psnr:.1f}" == gain
        assert f"{trained.train_forwards / 1e6:.2f} M" == forwards


def test_the_matrix_follows_from_the_leaderboard(board: pd.DataFrame) -> None:
    rows = table_after("All solvers and NFE for the digits network at w = 2:")
    field = board[(board.model == "digits-ot") & (board.guidance == 2)]
    assert {row[0] for row in rows} == set(field.solver)
    for solver, *values in rows:
        for nfe, value in zip((4, 6, 8, 12, 16), values, strict=True):
            cell = field[(field.solver == solver) & (field.nfe == nfe)].iloc[0]
            assert value == ("-" if cell.status == "skipped" else f"{cell.psnr:.1f}")


def test_bns_leads_everywhere(board: pd.DataFrame) -> None:
    best = board.dropna(subset="psnr").sort_values("psnr").groupby(["model", "guidance", "nfe"]).solver.last()
    assert set(best) == {"bns"}


def test_links_to_files_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_costs_follow_from_the_benchmark() -> None:
    costs = pd.read_csv(ROOT / "results/training/costs.csv")
    costs = costs[costs.seed == 0]
    rows = table_after("What training costs:")
    assert len(rows) == len(costs)
    for model, guidance, nfe, classic, greedy, paper, bns, reached, full, early in rows:
        row = costs[(costs.model == model) & (costs.guidance == float(guidance)) & (costs.nfe == int(nfe))].iloc[0]
        assert paper.endswith("†") == (row.kind != "full")
        found = (row.classic_psnr, row.greedy_psnr, row.paper_psnr, row.bns_psnr)
        assert [f"{value:.1f}" for value in found] == [classic, greedy, paper.rstrip("†"), bns]
        assert f"{row.bns_evaluations_to_paper_psnr / 1e3:.0f} k" == reached
        assert [f"{100 * row.share_of_full:.2f} %", f"{100 * row.share_of_early:.1f} %"] == [full, early]


def test_the_default_trainer_holds_what_the_benchmark_is_to_show() -> None:
    """Never below the published recipe, the greedy start above every classic from 6 NFE on, at a small part of the cost."""
    costs = pd.read_csv(ROOT / "results/training/costs.csv")
    assert (costs.bns_psnr >= costs.paper_psnr).all()
    assert (costs.bns_psnr >= costs.best_psnr - 0.2)[costs.nfe <= 8].all()
    assert (costs.greedy_psnr >= costs.classic_psnr)[costs.nfe >= 6].all()
    full = costs[(costs.kind == "full") & (costs.nfe <= 8)]
    assert (full.share_of_full <= 0.0165).all()
    assert (full.share_of_early <= 0.08).all()
    mixtures = full[full.model.str.startswith("digits-gmm") & (full.nfe == 8)]
    assert (mixtures.bns_psnr >= mixtures.paper_psnr + 6).all()


def test_the_learned_solvers_follow_from_their_leaderboard() -> None:
    board = pd.read_csv(ROOT / "results/learned/leaderboard.csv")
    field = board[(board.model == "digits-ot") & (board.guidance == 2)]
    rows = table_after("All of them on the digits network at w = 2")
    assert {row[0] for row in rows} == set(field.solver)
    for solver, *values, forwards in rows:
        cells = field[field.solver == solver].set_index("nfe")
        assert values == [f"{cells.psnr[nfe]:.1f}" for nfe in (4, 6, 8, 10)]
        assert forwards == f"{cells.train_forwards[8] / 1e6:.2f} M"


def test_the_gates_are_those_of_the_recipes_and_the_figures_those_of_the_weights() -> None:
    rows = table_after("## Gates", (ROOT / "docs/samples/README.md").read_text(encoding="utf-8"))
    manifest = read_manifest()
    for name, figure, gate, measured in rows:
        key = figure.replace(" ", "_")
        assert float(gate) == RECIPES[name].gates[key]
        assert measured == f"{manifest[name]['training']['figures'][key]:.3f}"
    assert {row[0] for row in rows} == {name for name in manifest if RECIPES[name].gates}


def test_the_pictures_of_the_samples_are_there() -> None:
    page = ROOT / "docs/samples/README.md"
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
