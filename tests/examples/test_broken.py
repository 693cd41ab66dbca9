"""The package of faulty plugins: every fault is reported, and a run with them in it gets to its end."""

from __future__ import annotations

import csv
import sys
import tomllib
from pathlib import Path

import pytest

from bnsbench.cli import main
from bnsbench.errors import BnsbenchError
from bnsbench.plugins import PluginHost

PACKAGE = Path(__file__).parents[2] / "plugins" / "broken"
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
POINTS = PROJECT["entry-points"]["bnsbench"]

REASONS = {
    "broken-hooks": ["'bnsbench_metrics' is not marked", "did you mean 'bnsbench_solvers'?"],
    "broken-import": ["No module named 'bnsbench_broken_needs_this'"],
    "broken-missing": ["No module named 'bnsbench_broken.nowhere'"],
    "broken-records": ["a name that it has used before", "not a ModelSpec", "'package.module:attribute'", "ended badly"],
}


@pytest.fixture(autouse=True)
def _installed(tmp_path, monkeypatch):
    """Install the package as its pyproject.toml says, without an installer."""
    info = tmp_path / "site" / "bnsbench_broken-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n")
    lines = [f"{name} = {value}\n" for name, value in POINTS.items()]
    (info / "entry_points.txt").write_text("[bnsbench]\n" + "".join(lines))
    monkeypatch.syspath_prepend(str(info.parent))
    monkeypatch.syspath_prepend(str(PACKAGE))
    monkeypatch.setenv("BNSBENCH_PLUGINS", ",".join(POINTS))
    yield
    for name in [name for name in sys.modules if name.startswith("bnsbench_broken")]:
        del sys.modules[name]


@pytest.mark.parametrize("plugin", POINTS)
def test_every_fault_is_reported(plugin):
    reasons = " ".join(problem.reason for problem in PluginHost.load().problems if problem.plugin == plugin)
    expected = REASONS.get(plugin, [])
    assert bool(reasons) == bool(expected)
    assert all(part in reasons for part in expected)


def test_what_is_sound_stays():
    host = PluginHost.load()
    assert host.model("sound").make().shape == (2,)
    assert host.solver("builtin/euler").spec.provider == "builtin"
    assert host.metric("psnr").spec.provider == "builtin"


def test_clash_of_names():
    with pytest.raises(BnsbenchError, match="write builtin/euler or broken-solvers/euler"):
        PluginHost.load().solver("euler")


def test_strict(monkeypatch):
    monkeypatch.setenv("BNSBENCH_STRICT_PLUGINS", "1")
    with pytest.raises(BnsbenchError, match="broken-import: it could not be loaded"):
        PluginHost.load()


def test_run_gets_to_its_end(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    solvers = "builtin/euler,absent,raising,greedy,diverging"
    words = f"run quick --model ring8 --guidance 0 --solver {solvers} --nfe 4 --metric psnr --samples 8 --quiet"
    with pytest.raises(SystemExit) as done:
        main(words.split())
    assert done.value.code == 1
    rows = list(csv.DictReader((tmp_path / "results/quick/leaderboard.csv").read_text().splitlines()))
    assert {row["solver"]: row["status"] for row in rows} == {
        "builtin/euler": "ok",
        "absent": "failed",
        "raising": "failed",
        "greedy": "failed",
        "diverging": "diverged",
    }
