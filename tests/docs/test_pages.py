"""The committed pages are those of the committed results."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from bnsbench.report.seal import seal_of
from bnsbench.suite.store import find_results
from tests.docs.pages import FOLDER, PICTURED, PUBLISHED, ROOT


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_page_is_of_the_results_as_they_are(name):
    page = (FOLDER / f"{name}.html").read_text(encoding="utf-8")
    assert seal_of(find_results(ROOT / "results" / name)).digest in page, "make it anew: python -m tests.docs.pages"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_page_holds_every_value_of_the_leaderboard(name):
    page = (FOLDER / f"{name}.html").read_text(encoding="utf-8")
    board = pd.read_csv(ROOT / "results" / name / "leaderboard.csv")
    found = {(int(row), float(value)) for value, row in re.findall(r'data-v="([^"]+)" data-row="(\d+)"', page)}
    assert {(row, value) for row, value in board["psnr"].dropna().items()} <= found


def test_the_picture_is_small():
    assert (FOLDER / f"{PICTURED}.png").stat().st_size < 300_000
