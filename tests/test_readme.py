"""The numbers of README and docs/ are those of the committed results, and what they say of the repository is true."""

from __future__ import annotations

import re
import tomllib
from itertools import dropwhile, takewhile
from pathlib import Path

import pandas as pd
import pytest

import bnsbench
from bnsbench.models.pretrain import RECIPES
from bnsbench.models.weights import read_manifest
from tests.readme_tables import TABLES, blocks, pages

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs/reference/results.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def board() -> pd.DataFrame:
    return pd.read_csv(ROOT / "results/default/leaderboard.csv")


def table_after(heading: str, text: str = README) -> list[list[str]]:
    """Return the cells of the first Markdown table after a heading, without its head."""
    lines = text.split(heading, maxsplit=1)[1].splitlines()
    table = takewhile(lambda line: line.startswith("|"), dropwhile(lambda line: not line.startswith("|"), lines))
    return [[cell.strip(" *≈`") for cell in row.strip("|").split("|")] for row in table][2:]


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_the_results(name: str) -> None:
    """`python -m tests.readme_tables` writes them."""
    found = [tables[name] for tables in (blocks(page.read_text(encoding="utf-8")) for page in pages()) if name in tables]
    assert found
    assert set(found) == {TABLES[name]()}


def test_every_table_of_results_is_on_the_page_of_results() -> None:
    assert set(blocks(RESULTS)) == {"headline", "leads", "matrix", "learned", "families", "galaxies", "costs"}
    assert set(blocks(README)) == {"headline", "students"}


def test_the_readme_is_read_in_one_sitting() -> None:
    assert len(README.splitlines()) <= 150


def test_the_readme_says_what_trainings_took(board: pd.DataFrame) -> None:
    networks = board[~board.model.str.contains("gmm")]
    forwards = networks[(networks.solver == "bns") & (networks.nfe == 8)].train_forwards / 1e3
    said = f"{forwards.min():.0f} to {forwards.max():.0f}"
    assert f"Training a table for 8 NFE took {said} thousand forwards of the networks" in " ".join(README.split())


def test_the_readme_has_the_command_that_runs_all_checks() -> None:
    command = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()[-1]
    assert f"    {command}\n" in README


def test_the_readme_names_the_pytorch_that_is_needed() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert f"`{next(each for each in needed if re.match(r'torch[<>=]', each))}`" in README


def test_bns_leads_everywhere_in_what_it_is_trained_for_as_the_page_says(board: pd.DataFrame) -> None:
    known, others = board.dropna(subset="psnr"), 0
    for measure in ("psnr", "psnr_mse", "psnr_p05"):
        columns = known.groupby(["model", "guidance", "nfe"])[measure]
        ahead = known.loc[columns.idxmax()].solver != "bns"
        assert measure != "psnr" or not ahead.any()
        others += ahead.sum()
    text = " ".join(RESULTS.split())
    assert f"In all {columns.ngroups} columns of the default run" in text
    assert f"a classic is ahead in {others} column{'s' if others > 1 else ''}" in text


def test_tuned_classics_reach_what_an_independent_study_found(board: pd.DataFrame) -> None:
    """By hand-made searches over two-parameter grids, at 8 NFE."""
    tuned = board[(board.kind == "tuned") & (board.nfe == 8) & (board.guidance == 2)]
    best = tuned.groupby("model").psnr.max()
    assert best["digits-vp"] >= 37.5
    assert best["digits-ot"] >= 40
    assert best["scenes"] >= 35


def test_the_page_says_how_often_tuned_is_not_the_best_tuned_classic(board: pd.DataFrame) -> None:
    tuned = board[(board.kind == "tuned") & board.psnr.notna()]
    cell = ["model", "guidance", "nfe"]
    others, chosen = (tuned[(tuned.solver == "tuned") == own].groupby(cell).psnr.max() for own in (False, True))
    behind = (others - chosen)[others > chosen]
    text = " ".join(RESULTS.split())
    assert f"in {len(behind)} of the {len(chosen)} columns a `NAME[grid=best]`" in text
    assert f"is ahead of `tuned`, by {behind.max():.1f} dB at most" in text


def test_the_page_says_what_the_squared_error_as_objective_changes() -> None:
    found = pd.read_csv(ROOT / "results/learned/leaderboard.csv").set_index(["solver", "model", "nfe"])
    change = {
        measure: (found[measure]["bns[objective=mse]"] - found[measure]["bns"])
        for measure in ("psnr", "psnr_mse", "psnr_p05")
    }
    less, more, worst = (change[measure]["digits-ot"] for measure in change)
    mixture = -change["psnr"]["digits-gmm"]
    text = " ".join(RESULTS.split())
    assert f"{-less.max():.1f} to {-less.min():.1f} dB less in the mean of dB" in text
    assert f"{more.min():.1f} to {more.max():.1f} dB more in the mean squared error" in text
    assert f"{worst.min():.1f} to {worst.max():.1f} dB more at the 5 % quantile" in text
    assert f"{mixture.min():.0f} to {mixture.max():.0f} dB less in the mean" in text


def test_the_pages_say_what_tuning_costs(board: pd.DataFrame) -> None:
    cell = ["model", "guidance", "nfe"]
    trained = board[board.solver == "bns"].set_index(cell).train_forwards
    tuned = board[(board.kind == "tuned") & (board.status == "ok")]
    share = tuned.set_index(cell).train_forwards / trained.reindex(pd.MultiIndex.from_frame(tuned[cell])).to_numpy()
    assert (share > 0).all()
    assert (share <= 1 / 3).all()
    few = tuned[tuned.nfe == 8].train_forwards / 1e3
    said = f"{few.min():.0f} to {few.max():.0f} thousand forwards at 8 NFE in the default run, at most"
    assert (share[share.index.get_level_values("nfe") == 8] <= 0.09).all()
    for page in (README, RESULTS):
        assert f"{said} 9 % of a training's" in " ".join(page.split())


def test_contributors_are_led_through_every_room() -> None:
    """The table of CONTRIBUTING.md names every folder of the package."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`(\w+)/`", page.split("## The rooms")[1].split("## ")[0])
    folders = {folder.name for folder in (ROOT / "bnsbench").iterdir() if folder.is_dir() and folder.name[0] != "_"}
    inside = {folder.name for folder in (ROOT / "bnsbench/training").iterdir() if folder.is_dir() and folder.name[0] != "_"}
    assert set(named) - inside == folders | {"api"}  # which is a folder, or still a module
    for file in re.findall(r"`((?:tests|bnsbench|solvers)/[\w/.]+\.py)`", page):
        assert (ROOT / file).is_file() or (ROOT / "bnsbench" / file).is_file(), file


def test_the_citation_is_of_this_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {bnsbench.__version__}\n" in text


def test_the_default_trainer_holds_what_the_benchmark_is_to_show() -> None:
    """Far above the published recipe, or little below it, at a small part of the cost."""
    costs = pd.read_csv(ROOT / "results/training/costs.csv")
    assert (costs.bns_psnr >= costs.paper_psnr - 0.5).all()
    assert (costs.bns_psnr >= costs.best_psnr - 0.6)[costs.nfe <= 8].all()
    full = costs[costs.kind == "full"]
    assert (full.bns_evaluations <= 0.03 * full.paper_evaluations).all()
    assert (full.share_of_full.dropna() <= 0.02).all()
    mixtures = costs[(costs.kind == "full") & costs.model.str.startswith("digits-gmm") & (costs.nfe == 8)]
    assert (mixtures.bns_psnr >= mixtures.paper_psnr + 6).all()


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
