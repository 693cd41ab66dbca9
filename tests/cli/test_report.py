"""``bnsbench report`` and ``bnsbench plot``."""

from __future__ import annotations

import pytest

from tests.report.page.conftest import made_results, records, results  # noqa: F401


def test_report_writes_one_page_beside_the_results(bnsbench, results):  # noqa: F811
    done = bnsbench("report", results.folder)
    assert (done.code, done.out) == (0, "small.html\n")
    page = results.folder.with_name("small.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "bnsbench: small" in page


def test_report_of_two_folders_goes_where_it_is_told(bnsbench, results, made_results, records, tmp_path):  # noqa: F811
    other = made_results(records[:2], name="other")
    done = bnsbench("report", results.folder, other.folder, "-o", "board.html")
    assert (done.code, done.out) == (0, "board.html\n")
    assert "bnsbench: small, other" in (tmp_path / "board.html").read_text(encoding="utf-8")


def test_report_says_where_there_are_no_results(bnsbench, tmp_path):
    done = bnsbench("report", tmp_path)
    assert done.code == 1
    assert "There are no results in" in done.err


@pytest.mark.parametrize("kind", ["curves", "profile", "cost", "table"])
def test_plot_draws_every_kind(bnsbench, results, tmp_path, kind):  # noqa: F811
    done = bnsbench("plot", results.folder, "--kind", kind, "-o", "figure.pdf")
    assert (done.code, done.out) == (0, "figure.pdf\n")
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_plot_says_what_it_cannot_draw(bnsbench, results):  # noqa: F811
    done = bnsbench("plot", results.folder, "--model", "none", "-o", "figure.pdf")
    assert done.code == 2
    assert "These results have no model 'none'; they have ring8, w = 0" in done.err
