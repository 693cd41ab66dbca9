"""A record answers its cell for the model and the files that made it, and for no others."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bnsbench.api.running import run_and_report
from bnsbench.contract import PluginHost
from bnsbench.report.results import read_leaderboard
from bnsbench.report.verify import verify
from bnsbench.suite.progress import RunListener
from bnsbench.suite.run import RunOptions, find_finished, plan_run, run_suite
from bnsbench.suite.store import ResultStore

PLUGIN = Path(__file__).parent / "changing_plugin.py"


@pytest.fixture
def host():
    return PluginHost.load([PLUGIN])


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "weights.txt"
    file.write_text("0.15")
    return file


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "data.txt"
    file.write_text("2")
    return file


@pytest.fixture
def options(tmp_path, weights, data):
    file = tmp_path / "changing.toml"
    model = f"weighed[weights={weights}]"
    file.write_text(
        f'samples = 20\nnfe = [2, 4]\nsolvers = ["steps"]\nmetrics = ["psnr", "scaled[data={data}]"]\n'
        f'models = [{{ name = "{model}", tolerance = 1e-4 }}, {{ name = "ring8", tolerance = 1e-4 }}]\n'
    )

    def options(**changes):
        return RunOptions(str(file), **{"results": tmp_path / "runs", "device": "cpu", **changes})

    return options


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "runs" / "changing")


def left(options, host, recorder):
    """Return the cells that a dry run says are left."""
    plan = plan_run(options, host)
    return find_finished(plan, options, host, recorder).pending(plan.cells)


def values(store, metric="psnr"):
    frame = read_leaderboard(store)
    return {(str(row.model)[:7], row.nfe): getattr(row, metric, None) for row in frame.itertuples()}


def test_what_is_unchanged_stays(options, host, recorder, store):
    assert len(left(options(), host, recorder)) == run_suite(options(), host, recorder).ran == 4
    assert left(options(), host, recorder) == []
    assert run_suite(options(), host, recorder).ran == 0
    assert recorder.notices == []
    assert "versions" not in json.loads(store.plan_file.read_text())


def test_a_model_changed_in_place_is_run_again_and_told(options, host, recorder, store, weights):
    run_and_report(options(), host, recorder)
    before = values(store)
    weights.write_text("0.3")
    assert [cell.model.name[:7] for cell in left(options(), host, recorder)] == ["weighed"] * 2
    assert any("has changed since: 2 finished cells are run again." in text for text in recorder.notices)
    outcome, frame = run_and_report(options(), host, recorder)
    assert outcome.ran == 2
    after = values(store)
    assert frame.attrs["notes"] == []
    assert all((after[place] == before[place]) == (place[0] == "ring8") for place in before)
    assert left(options(), host, recorder) == []
    weights.write_text("0.15")
    assert run_suite(options(), host, recorder).ran == 2
    assert values(store) == before


def test_a_model_that_diverged_and_is_mended_is_run_again(options, host, recorder, store, weights):
    weights.write_text("nan")
    run_suite(options(), host, recorder)
    assert [record.status for record in store.records()] == ["diverged"] * 2 + ["ok"] * 2
    assert left(options(), host, recorder) == []
    weights.write_text("0.15")
    assert [cell.model.name[:7] for cell in left(options(), host, recorder)] == ["weighed"] * 2
    assert run_suite(options(), host, recorder).counts == {"ok": 4}


def test_records_that_do_not_know_their_model_answer_for_built_in_ones_alone(options, host, recorder, store, weights):
    """As they were written when the truth had diverged; those of cells that cannot be run at all know none, rightly."""
    chosen = options(solvers=["steps", "midpoint"], nfe=[2, 3])
    run_suite(chosen, host, recorder)
    for record in list(store.records()):
        if record.status == "ok":
            store.write(replace(record, status="diverged", metrics={}, model={}))
    unknown = left(chosen, host, recorder)
    assert [(cell.model.name[:7], cell.solver.name, cell.nfe) for cell in unknown] == [
        ("weighed", "steps", 2),
        ("weighed", "steps", 3),
        ("weighed", "midpoint", 2),
    ]
    assert any("may have changed since: 3 finished cells are run again." in text for text in recorder.notices)
    assert left(replace(chosen, trust_records=True), host, recorder) == []
    there = weights.read_text()
    weights.unlink()
    assert left(chosen, host, recorder) == []
    weights.write_text(there)
    assert run_suite(chosen, host, recorder).ran == 3
    assert left(chosen, host, recorder) == []


def test_verify_says_why_a_value_is_another(options, host, recorder, store, weights):
    run_and_report(options(), host, recorder)
    assert verify(store, host, recorder, cells=None, device="cpu").faults == ()
    weights.write_text("0.3")
    told = [fault for fault in verify(store, host, recorder, cells=None, device="cpu").faults if "nfe2" in fault]
    assert "weighed" in told[0]
    assert "the record is of another version of the model" in told[0]
    assert any("says psnr" in text and text.endswith("(the model has changed).") for text in told[1:])


def test_records_can_be_trusted(options, host, recorder, weights):
    run_suite(options(), host, recorder)
    weights.unlink()
    host.model(f"weighed[weights={weights}]").resolve().__globals__["LOADED"].clear()
    assert left(options(trust_records=True), host, recorder) == []
    assert run_suite(options(trust_records=True), host, recorder).ran == 0
    assert recorder.notices == []
    assert host.model(f"weighed[weights={weights}]").resolve().__globals__["LOADED"] == []


def test_a_model_that_is_gone_costs_no_finished_cell(options, host, recorder, weights):
    run_suite(options(), host, recorder)
    weights.unlink()
    assert run_suite(options(), host, recorder).ran == 0
    assert any("cannot be read" in text and "2 finished cells are kept" in text for text in recorder.notices)


def test_a_model_is_read_once_whatever_it_has_finished(options, host, recorder, weights):
    run_suite(options(), host, recorder)
    loaded = host.model(f"weighed[weights={weights}]").resolve().__globals__["LOADED"]
    loaded.clear()
    run_suite(options(), host, recorder)
    assert loaded == [str(weights)]


def test_files_of_a_metric_that_change_are_measured_again(options, host, recorder, store, data):
    run_suite(options(), host, recorder)
    name = f"scaled[data={data}]"
    before = [record.metrics[name].value for record in store.records()]
    data.write_text("3")
    assert len(left(options(), host, recorder)) == 4
    assert any(f"The files of the metric {name} have changed since: 4" in text for text in recorder.notices)
    assert run_suite(options(), host, recorder).ran == 4
    after = [record.metrics[name].value for record in store.records()]
    assert after == pytest.approx([1.5 * value for value in before])
    assert run_suite(options(), host, recorder).ran == 0
    data.unlink()
    assert run_suite(options(), host, recorder).ran == 0


def silent(store, metric):
    """Rewrite records as they were when a metric that did not apply told nothing but why."""
    for record in list(store.records()):
        score = replace(record.metrics[metric], details={})
        store.write(replace(record, metrics={**record.metrics, metric: score}))


@pytest.mark.parametrize("bad", ["-1", "nan"])
@pytest.mark.parametrize("old", [False, True])
def test_files_of_a_metric_that_did_not_apply_are_looked_at_again(options, host, recorder, store, data, bad, old):
    """Whether it could be made from them (-1) or not (nan)."""
    data.write_text(bad)
    run_suite(options(), host, recorder)
    name = f"scaled[data={data}]"
    assert all("a scale has to be" in record.metrics[name].reason for record in store.records())
    assert left(options(), host, recorder) == []
    if old:
        silent(store, name)
    data.write_text("3")
    assert len(left(options(), host, recorder)) == 4
    assert run_suite(options(), host, recorder).ran == 4
    said = f"The files of the metric {name} {'may have' if old else 'have'} changed since"
    if bad == "nan" and not old:
        said = f"The metric {name} can be made now"
    assert any(text == f"{said}: 4 finished cells are measured again." for text in recorder.notices)
    assert all(record.metrics[name].value > 0 for record in store.records())
    assert left(options(), host, recorder) == []


def test_a_metric_that_still_does_not_apply_is_asked_once(options, host, recorder, store, data):
    data.write_text("-1")
    run_suite(options(), host, recorder)
    silent(store, f"scaled[data={data}]")
    assert run_suite(options(), host, recorder).ran == 4
    assert run_suite(options(), host, recorder).ran == 0
    data.write_text("-2")
    assert run_suite(options(), host, recorder).ran == 4
    assert run_suite(options(), host, recorder).ran == 0


def test_a_metric_that_could_not_be_made_is_measured_once_it_can(options, host, recorder, store, monkeypatch):
    chosen = options(metrics=["psnr", "optional"])
    run_suite(chosen, host, recorder)
    assert run_suite(chosen, host, recorder).ran == 0
    monkeypatch.setenv("CHANGING_PROGRAM", "here")
    assert len(left(chosen, host, recorder)) == 4
    assert "The metric optional can be made now: 4 finished cells are measured again." in recorder.notices
    assert run_suite(chosen, host, recorder).ran == 4
    assert all(record.metrics["optional"].value > 0 for record in store.records())
    assert left(chosen, host, recorder) == []
    silent(store, "optional")
    assert left(chosen, host, recorder) == []


def test_an_interrupted_change_mixes_nothing(options, host, recorder, store, weights, monkeypatch):
    """Killed between the cells of the second version: the table shows those alone, and says so."""
    run_and_report(options(), host, recorder)
    before = values(store)
    weights.write_text("0.3")

    def stop(cell, record):
        raise KeyboardInterrupt

    monkeypatch.setattr(recorder, "finished", stop)
    with pytest.raises(KeyboardInterrupt):
        run_suite(options(), host, recorder)
    monkeypatch.undo()
    frame = read_leaderboard(store)
    statuses = frame.loc[frame.model.str.startswith("weighed"), "status"].to_list()
    assert statuses == ["ok", "failed"]
    (note,) = frame.attrs["notes"]
    assert "come from 2 versions; 1 are left out: run them again." in note
    assert values(store)["weighed", 2] != before["weighed", 2]
    assert values(store)["weighed", 4] != values(store)["weighed", 4]  # NaN: there is none
    assert run_suite(options(), host, recorder).ran == 1
    assert read_leaderboard(store).attrs["notes"] == []


@pytest.fixture
def interrupt(options, host, recorder, monkeypatch):
    """Run until the first cell would begin."""

    def stop(cells, pending):
        raise KeyboardInterrupt

    def interrupt():
        with monkeypatch.context() as patch:
            patch.setattr(recorder, "planned", stop)
            with pytest.raises(KeyboardInterrupt):
                run_suite(options(), host, recorder)

    return interrupt


def test_a_change_interrupted_at_once_shows_nothing_old(options, host, recorder, store, weights, data, interrupt):
    run_suite(options(), host, recorder)
    before = values(store)
    weights.write_text("0.3")
    data.write_text("3")
    interrupt()
    frame = read_leaderboard(store)
    assert [note.split(" come from")[0] for note in frame.attrs["notes"]] == [
        f"Records of the model weighed[weights={weights}]",
        f"Values of the files of the metric scaled[data={data}]",
    ]
    assert frame.loc[frame.model.str.startswith("weighed"), "status"].to_list() == ["failed"] * 2
    assert f"scaled[data={data}]" not in frame.columns
    weights.write_text("0.15")
    data.write_text("2")
    assert run_suite(options(), host, recorder).ran == 0
    assert (values(store), read_leaderboard(store).attrs["notes"]) == (before, [])


def test_trusted_records_are_shown_whatever_an_interrupted_change_has_named(
    options, host, recorder, store, weights, data, interrupt
):
    run_suite(options(), host, recorder)
    before = values(store)
    weights.write_text("0.3")
    data.write_text("3")
    interrupt()
    assert run_suite(options(trust_records=True), host, recorder).ran == 0
    assert (values(store), read_leaderboard(store).attrs["notes"]) == (before, [])


def test_what_has_no_records_left_is_named_as_it_is_now(options, host, recorder, store, weights, data, interrupt):
    run_suite(options(), host, recorder)
    weights.write_text("0.3")
    data.write_text("3")
    interrupt()
    for key in store.planned():
        store.forget(key)
    weights.write_text("0.2")
    data.write_text("4")
    assert run_suite(options(), host, recorder).ran == 4
    frame = read_leaderboard(store)
    assert (frame.attrs["notes"], set(frame.status)) == ([], {"ok"})
    assert frame[f"scaled[data={data}]"].notna().all()


def test_skipped_cells_of_a_model_that_is_named_stay_finished(options, host, recorder, weights):
    chosen = options(solvers=["steps", "midpoint"], nfe=[2, 3])
    run_suite(chosen, host, recorder)
    weights.write_text("0.3")
    assert run_suite(chosen, host, recorder).ran == 3
    assert left(chosen, host, recorder) == []


def test_finished_built_in_models_load_nothing(tmp_path):
    """Their versions hold the hashes of their weights."""
    program = (
        "import sys; from pathlib import Path\n"
        "from bnsbench.contract import PluginHost\n"
        "from bnsbench.suite.progress import RunListener\n"
        "from bnsbench.suite.run import RunOptions, find_finished, plan_run\n"
        "options = RunOptions('quick', results=Path(sys.argv[1]), models=['ring8'], solvers=['euler'], nfe=[2])\n"
        "host = PluginHost.load()\nplan = plan_run(options, host)\n"
        "print(len(find_finished(plan, options, host, RunListener()).records), 'torch' in sys.modules)\n"
    )
    options = RunOptions("quick", results=tmp_path, models=["ring8"], solvers=["euler"], nfe=[2], samples=8, device="cpu")
    run_and_report(options, PluginHost.load(), RunListener())
    done = subprocess.run(
        [sys.executable, "-c", program.replace("nfe=[2]", "nfe=[2], samples=8"), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "False"]
