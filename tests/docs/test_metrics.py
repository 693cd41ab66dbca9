"""docs/reference/metrics.md: its commands print what the page shows, and its tables are true."""

from __future__ import annotations

import pytest

from bnsbench.contract import PluginHost
from tests.docs.replay import ROOT, replay


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")


def test_the_example_does_what_it_says():
    steps = list(replay("reference/metrics.md"))
    assert [command.split()[:2] for command, _, _ in steps] == [
        ["python", "real_digits.py"],
        ["bnsbench", "run"],
        ["bnsbench", "leaderboard"],
    ]
    for command, said, now in steps:
        assert now == said, command


def test_the_page_says_what_every_metric_compares():
    names = [metric.name for metric in PluginHost.load().metrics]
    page = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    first = page.split("# Metrics")[1].split("\n## ")[0]
    assert [name for name in names if f"`{name}`" not in first] == []
    with_data = [metric.name for metric in PluginHost.load().metrics if "data" in metric.parameters]
    assert with_data == ["coverage", "density", "fad", "fid", "kid", "precision", "recall"]
    assert "for `fid`, `kid`, `precision`, `recall`, `density`, `coverage` and `fad`." in page
