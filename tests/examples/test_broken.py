"""The package of faulty plugins: every fault is reported, and a run with them in it gets to its end."""

from __future__ import annotations

import csv
import sys
import tomllib
from pathlib import Path

import pytest

from bnsbench.cli import main
from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError
from bnsbench.testing import records

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


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as done:
        main(words)
    return int(done.value.code or 0)


def run_quick(folder: Path, solvers: str, **changes: str | int) -> dict[str, dict[str, str]]:
    """Run solvers on a model, and return the rows of the leaderboard by solver."""
    settings = {"model": "ring8", "guidance": 0, "nfe": 4, "metric": "psnr", "samples": 8, "results": folder, **changes}
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    run("run", "quick", "--quiet", *options, "--solver", solvers)
    return {row["solver"]: row for row in csv.DictReader((folder / "quick/leaderboard.csv").read_text().splitlines())}


def test_run_gets_to_its_end_and_names_each_problem(tmp_path, capsys):
    rows = run_quick(tmp_path, "builtin/euler,mutating,absent,raising,greedy,diverging,midpoint")
    assert {solver: row["status"] for solver, row in rows.items()} == {
        "euler": "ok",
        "mutating": "ok",
        "absent": "failed",
        "raising": "failed",
        "greedy": "failed",
        "diverging": "diverged",
        "midpoint": "ok",
    }
    told = capsys.readouterr().err
    for plugin, reasons in REASONS.items():
        assert f"Plugin {plugin} has a problem: " in told
        assert all(reason in told for reason in reasons)
    assert "bnsbench_solvers raised RuntimeError: the list of solvers ended badly" in told
    assert "greedy_nfe4_seed0" in told
    assert "overspent: it used 5 evaluations instead of 4" in told


def test_a_solver_that_overwrites_its_input_spoils_no_other(tmp_path):
    beside, alone = (
        run_quick(tmp_path / str(k), f"{first}builtin/euler,midpoint") for k, first in enumerate(("mutating,", ""))
    )
    for solver in ("euler", "midpoint"):
        assert beside[solver]["psnr"] == alone[solver]["psnr"]
    assert float(beside["mutating"]["psnr"]) == pytest.approx(float(alone["euler"]["psnr"]), abs=1e-6)


FAULTS = {
    "parallel": "overspent: it used 260 evaluations instead of 4",
    "trailing": "overspent: it used 8 evaluations instead of 4",
    "bypassing": "AttributeError: 'SolverField' object has no attribute 'field'",
    "resetting": "AttributeError: 'SolverField' object has no attribute",
    "hoarding": "its field was evaluated after the run that it was made for",
    "vectorising": "the field cannot be evaluated under torch.func transforms",
    "rewriting": "it has overwritten the model",
}


@pytest.mark.parametrize("solver", [*FAULTS, "buffering"])
def test_solvers_that_cheat_or_meddle_fail_alone(tmp_path, solver):
    words: dict[str, str | int] = {"model": "exposed", "batch": 3}
    among, without = (
        run_quick(tmp_path / str(k), f"builtin/euler,{extra}midpoint", **words) for k, extra in enumerate((f"{solver},", ""))
    )
    for healthy in ("euler", "midpoint"):
        assert among[healthy]["psnr"] == without[healthy]["psnr"]
    if solver == "buffering":
        assert float(among[solver]["psnr"]) == pytest.approx(float(without["euler"]["psnr"]), abs=1e-6)
    else:
        assert among[solver]["status"] == "failed"
        assert FAULTS[solver] in among[solver]["reason"]


@pytest.mark.parametrize(
    ("metric", "fault"),
    [
        ("spoiling-samples", "it has overwritten the samples"),
        ("spoiling-truth", "it has overwritten the decoded ground truth"),
        ("spoiling-model", "it has overwritten the model"),
    ],
)
def test_metrics_that_meddle_spoil_no_other(tmp_path, metric, fault):
    among, without = (
        run_quick(tmp_path / str(k), "builtin/euler,midpoint", metric=f"{extra}psnr", model="exposed")
        for k, extra in enumerate((f"{metric},", ""))
    )
    for solver in ("euler", "midpoint"):
        assert among[solver]["status"] == "failed"
        assert fault in among[solver]["reason"]
        assert among[solver]["psnr"] == without[solver]["psnr"]
        assert without[solver]["status"] == "ok"


@pytest.mark.parametrize(
    ("solver", "fault"),
    [
        ("mutating", "It overwrites its input x0."),
        ("greedy", "It overspends: asked for 1 evaluations, it used 2."),
        ("diverging", "Its states are not finite on the condot path."),
        ("raising", "It raised ValueError: this solver never works (solvers.py"),
        ("absent", "'absent' of plugin 'broken-solvers' could not be loaded"),
        ("exiting", "It raised SystemExit: 7 (solvers.py"),
        ("bypassing", "It raised AttributeError: 'SolverField' object has no attribute 'field'"),
        ("buffering", "It returns the same memory at every run."),
    ],
)
def test_check_names_the_fault(monkeypatch, capsys, solver, fault):
    monkeypatch.setattr(records, "_in_another_process", lambda _: {"modules": []})
    assert run("check", solver) == 1
    assert fault in capsys.readouterr().out


def test_check_of_a_name_that_two_plugins_offer(capsys):
    assert run("check", "euler") == 2
    assert "write builtin/euler or broken-solvers/euler" in capsys.readouterr().err


def test_check_names_the_faults_of_the_plugin(monkeypatch, capsys):
    monkeypatch.setattr(records, "_in_another_process", lambda _: {"modules": [], "fingerprint": ""})
    assert run("check", "sound") == 1
    assert "The plugin 'broken-records' has faults: " in capsys.readouterr().out
