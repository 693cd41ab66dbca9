from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bnsbench.api.running import publish as publish_by_name
from bnsbench.api.running import run_and_report
from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.report import publish as publishing
from bnsbench.report.integrity import faults
from bnsbench.report.publish import publish
from bnsbench.report.results import write_reports
from bnsbench.suite.progress import RunListener
from bnsbench.suite.record import format_record
from bnsbench.suite.run import RunOptions
from bnsbench.suite.store import ResultStore

PLUGIN = Path(__file__).parent.parent / "suite" / "tiny_plugin.py"

SUITE = """
samples = 20
nfe = [2, 3, 4]
solvers = ["steps", "pairs", "learned"]
models = [{ name = "tiny", tolerance = 1e-4 }]
"""


@pytest.fixture
def host():
    return PluginHost.load([PLUGIN])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    (folder / "small.toml").write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BNSBENCH_CACHE", str(folder / "cache"))
        options = RunOptions(str(folder / "small.toml"), results=folder, device="cpu")
        run_and_report(options, PluginHost.load([PLUGIN]), RunListener())
    return folder / "small"


@pytest.fixture
def run(original, tmp_path):
    """A finished run of nine cells, of which one is skipped."""
    shutil.copytree(original, tmp_path / "runs" / "small")
    return ResultStore(tmp_path / "runs" / "small")


@pytest.fixture
def output(tmp_path):
    return tmp_path / "results"


def content(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def shorten(store, count):
    """Let a published folder know fewer cells of its suite, as one of an earlier run."""
    for record in list(store.records())[count:]:
        store.record_file(record.key).unlink()


def test_a_finished_run_is_copied_without_what_is_not_its_own(run, host, output):
    (run.cells / "stray.json").write_text("{}")
    (run.solvers / "stray.json").write_text("{}")
    (run.previews / "more").mkdir(parents=True)
    write_reports(run)
    done = publish(run, host, output)
    assert (done.folder, done.new, done.replaced, done.records) == (output / "small", 9, 0, 9)
    assert list(faults(ResultStore(done.folder))) == []
    now, before = content(done.folder), content(run.folder)
    assert {name for name in before if name.startswith(("cells/", "solvers/")) and "stray" not in name} <= now.keys()
    assert not any("stray" in name or "previews" in name for name in now)
    assert all(now[name] == before[name] for name in now if name != "SHA256SUMS")
    assert {name.partition("/")[0] for name in now} == {
        *("suite.toml", "plan.json", "environment.json", "cells", "solvers"),
        *("leaderboard.csv", "leaderboard.md", "psnr.png", "psnr.svg", "SHA256SUMS"),
    }
    assert [path.name for path in output.iterdir()] == ["small"]


def test_it_says_what_it_replaces(run, host, output):
    publish(run, host, output)
    first, second = list(run.records())[:2]
    published = ResultStore(output / "small")
    published.record_file(first.key).unlink()
    published.write(replace(second, seconds={"total": 1.0}))
    done = publish(run, host, output)
    assert (done.new, done.changed, done.unchanged, done.removed) == (1, 1, 7, 0)
    assert list(faults(published)) == []


def test_records_that_the_run_lacks_are_dropped_on_request_only(run, host, output):
    publish(run, host, output)
    extra = output / "small" / "cells" / "another-0123456789ab.json"
    extra.write_text("{}")
    before = content(output)
    with pytest.raises(UsageError, match=r"holds 1 records that .* does not: add --replace"):
        publish(run, host, output)
    assert content(output) == before
    assert publish(run, host, output, replace=True).removed == 1
    assert not extra.exists()


def spoil_record(run):
    file = sorted(run.cells.glob("*.json"))[0]
    file.write_text(file.read_text().replace("psnr", "pnsr", 1))


def forge_skip(run):
    record = next(record for record in run.records() if record.status == "skipped")
    run.write(replace(record, status="failed", reason="it did"))
    write_reports(run)


def hide_a_cell(run):
    keys = run.planned()
    run.plan_file.write_text(run.plan_file.read_text().replace(f' "{keys[0]}",\n', ""))
    write_reports(run)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_record, "has been changed"),
        (lambda run: sorted(run.cells.glob("*.json"))[0].unlink(), "is missing"),
        (lambda run: sorted(run.solvers.iterdir())[0].write_text("{}"), "has been changed"),
        (lambda run: (run.folder / "SHA256SUMS").unlink(), "the run has not come to its end"),
        (lambda run: (run.folder / "leaderboard.csv").write_text("x"), "has been changed"),
        (forge_skip, "but the cell cannot be run"),
        (hide_a_cell, "1 cells of suite.toml are not in plan.json"),
    ],
)
def test_what_is_not_whole_is_not_published(run, host, output, spoil, said):
    spoil(run)
    with pytest.raises(BnsbenchError, match=said):
        publish(run, host, output)
    assert not output.exists()


def test_cells_without_a_result_need_to_be_allowed(run, host, output):
    record = next(record for record in run.records() if record.status == "ok")
    failed = replace(record, status="failed", reason="it broke", metrics={}, per_sample={})
    run.record_file(record.key).write_text(format_record(failed))
    write_reports(run)
    with pytest.raises(BnsbenchError, match=r"has 1 cells without a result, such as .*it broke.*--allow-failed"):
        publish(run, host, output)
    assert publish(run, host, output, allow_failed=True).records == 9


@pytest.mark.parametrize("moment", ["write_reports", "_copy", "_swap"])
def test_whole_or_not_at_all(run, host, output, monkeypatch, moment):
    """Interrupted anywhere, what was published before is there, and nothing half made beside it."""
    publish(run, host, output)
    run.write(replace(next(run.records()), seconds={"total": 9.0}))
    write_reports(run)
    before = content(output)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing, moment, stop)
    with pytest.raises(KeyboardInterrupt):
        publish(run, host, output)
    assert content(output) == before
    monkeypatch.undo()
    assert publish(run, host, output).changed == 1


def test_a_kill_between_the_two_renames_is_mended(run, host, output):
    publish(run, host, output)
    before = content(output / "small")
    (output / "small").rename(output / ".small.before")
    (output / "small.txt").write_text("beside it")
    spoil_record(run)
    with pytest.raises(BnsbenchError):
        publish(run, host, output)
    assert content(output / "small") == before


def test_it_is_not_published_onto_itself(run, host):
    with pytest.raises(UsageError, match="name another folder"):
        publish(run, host, run.folder.parent)


def test_python_users_name_folders(run, output):
    assert publish_by_name(str(run.folder), output=str(output), plugins=[PLUGIN]) == output / "small"
    with pytest.raises(BnsbenchError, match="There are no results"):
        publish_by_name(output / "nowhere")
