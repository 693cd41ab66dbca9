"""Figures for papers: files of every kind, what they name, and what cannot be drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from bnsbench.errors import UsageError
from bnsbench.report import paper
from bnsbench.report.page.sources import scenarios
from bnsbench.report.paper import Choice, chosen, draw_paper_figure
from tests.report.page.conftest import made_results, records, results  # noqa: F401


@pytest.fixture
def found(results):  # noqa: F811
    from bnsbench.report.page.sources import read_sources

    return list(scenarios(read_sources([results])))


@pytest.fixture
def drawn(monkeypatch):
    """Return the texts of the last figure that was drawn."""
    kept: list[Figure] = []
    monkeypatch.setattr(paper, "save_figure", lambda figure, _: kept.append(figure))

    def texts():
        return [text.get_text() for text in kept[-1].findobj(Text) if isinstance(text, Text)]

    return texts


@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_files_have_their_format_and_are_the_same_each_time(found, tmp_path, suffix):
    files = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
    for file in files:
        draw_paper_figure(found[:1], "curves", Choice(), file)
    start = {".pdf": b"%PDF", ".svg": b"<?xml", ".png": b"\x89PNG"}[suffix]
    assert files[0].read_bytes().startswith(start)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("kind", ["curves", "cost", "table"])
def test_figures_name_chosen_solvers(found, drawn, tmp_path, kind):
    draw_paper_figure(found[:2], kind, Choice("psnr", ("bns", "ab2")), tmp_path / "x.pdf")
    assert {"bns", "ab2"} <= set(drawn())
    assert "euler" not in drawn()


def test_tables_hold_the_numbers_of_the_leaderboard(found, drawn, tmp_path):
    draw_paper_figure(found[:1], "table", Choice(), tmp_path / "x.pdf")
    wanted = {entry.text for line in found[0].boards["psnr"].lines for entry in line.entries}
    assert wanted <= {text.removesuffix(" ≈") for text in drawn()}


def test_galleries_and_profiles_are_drawn(found, drawn, tmp_path):
    draw_paper_figure(found[:1], "gallery", Choice(), tmp_path / "x.pdf")
    texts = drawn()
    assert {"ground truth", "bns", "4 NFE"} <= set(texts)
    assert texts.index("ground truth") > texts.index("4 NFE")
    draw_paper_figure(found, "profile", Choice(), tmp_path / "x.pdf")
    assert "best value at 4 NFE" in drawn()


@pytest.mark.parametrize(
    ("kind", "choice", "name", "said"),
    [
        ("curves", Choice("none"), "x.pdf", "has no metric 'none'; it has psnr"),
        ("curves", Choice(solvers=("none",)), "x.pdf", "There is no solver 'none' in voices, w = 0; there are"),
        ("curves", Choice(), "x.jpg", "must end in"),
        ("gallery", Choice(), "x.pdf", "There are no pictures of samples of voices"),
        ("profile", Choice(), "x.pdf", "at least three scenarios"),
    ],
)
def test_what_cannot_be_drawn_is_said(found, tmp_path, kind, choice, name, said):
    with pytest.raises(UsageError, match=said):
        draw_paper_figure(found[2:], kind, choice, tmp_path / name)


@pytest.mark.parametrize("kind", ["curves", "cost", "table"])
def test_a_solver_is_drawn_where_it_stands(found, drawn, tmp_path, kind):
    without = replace(
        found[1],
        cells=tuple(cell for cell in found[1].cells if cell.solver != "ab2"),
        boards={
            name: replace(board, lines=[line for line in board.lines if line.solver != "ab2"])
            for name, board in found[1].boards.items()
        },
    )
    draw_paper_figure([found[0], without], kind, Choice("psnr", ("bns", "ab2")), tmp_path / "x.pdf")
    texts = drawn()
    assert (texts.count("bns"), texts.count("ab2")) == (2, 1)
    with pytest.raises(UsageError, match="There is no solver 'ab2' in ring8, w = 2"):
        draw_paper_figure([without], kind, Choice("psnr", ("ab2",)), tmp_path / "x.pdf")


def test_models_are_chosen_with_and_without_guidance(found):
    assert [each.title for each in chosen(found, ["ring8"])] == ["ring8, w = 0", "ring8, w = 2"]
    assert [each.title for each in chosen(found, ["ring8, w = 2"])] == ["ring8, w = 2"]
    assert len(chosen(found, [])) == 3
    with pytest.raises(UsageError, match="no model 'none'"):
        chosen(found, ["none"])
