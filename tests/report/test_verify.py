from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bnsbench.api.running import run_and_report
from bnsbench.contract import PluginHost
from bnsbench.report.results import write_reports
from bnsbench.report.verify import choose, differences, verify
from bnsbench.suite.plan import make_plan
from bnsbench.suite.progress import RunListener
from bnsbench.suite.record import format_record
from bnsbench.suite.run import RunOptions
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import read_suite

PLUGIN = Path(__file__).parent.parent / "suite" / "tiny_plugin.py"

SUITE = """
samples = 40
batch = 16
nfe = [2, 4]
metrics = ["psnr", "width"]
solvers = ["steps", "pairs", "learned"]
models = [{ name = "tiny", guidance = [1.0], tolerance = 1e-5 }, { name = "plain", tolerance = 1e-5 }]
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
def store(original, tmp_path):
    shutil.copytree(original, tmp_path / "small")
    return ResultStore(tmp_path / "small")


def _verify(store, host, **options):
    return verify(store, host, RunListener(), device="cpu", **options)


def test_untouched_results_pass(store, host):
    found = _verify(store, host, cells=None)
    assert (found.faults, found.records, found.rerun, found.exit_code) == ((), 12, 12, 0)


@pytest.mark.parametrize(
    "pattern", ["cells/*learned*.json", "solvers/*.json", "leaderboard.csv", "leaderboard.md", "*.toml", "env*.json"]
)
def test_any_altered_number_fails(store, host, pattern):
    """Alter numbers all over the file, one at a time: each must be found."""
    file = sorted(store.folder.glob(pattern))[0]
    text = file.read_text()
    places = [match.start() for match in re.finditer(r"(?<![a-f0-9])\d+(?![a-f])", text)]
    for place in places[:: max(1, len(places) // 6)]:
        file.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
        found = _verify(store, host, cells=0)
        assert found.exit_code == 1, text[place - 20 : place + 20]
        assert any(file.name in fault for fault in found.faults)


def test_altered_solver_is_found_without_the_list_of_hashes(store, host):
    """Whoever alters a table and writes the hashes anew still contradicts the record's fingerprint."""
    file = sorted(store.solvers.iterdir())[0]
    content = json.loads(file.read_text())
    content["solver"]["a"][0] += 1e-12
    file.write_text(json.dumps(content))
    write_reports(store)
    assert any("other numbers" in fault for fault in _verify(store, host, cells=0).faults)


def test_forged_record_is_found_by_running_it_again(store, host):
    record = next(record for record in store.records() if record.cell["solver"]["name"] == "steps")
    score = replace(record.metrics["psnr"], value=record.metrics["psnr"].value + 0.2)
    store.record_file(record.key).write_text(format_record(replace(record, metrics={**record.metrics, "psnr": score})))
    write_reports(store)
    found = _verify(store, host, cells=None)
    assert len(found.faults) == 1
    assert re.search(r"steps.* the record says psnr .* further off than 0\.05", found.faults[0])


def forge(store, change):
    """Change one record as a forger would, who makes all hashes fit."""
    record = next(record for record in store.records() if record.cell["solver"]["name"] == "steps")
    store.write(change(record))
    write_reports(store)


def _without_values(record, status):
    return replace(record, status=status, reason="it says so", metrics={}, per_sample={})


def _scored(record, metric="psnr", **changes):
    return replace(record, metrics={**record.metrics, metric: replace(record.metrics[metric], **changes)})


def _higher(record, by, **changes):
    score = record.metrics["psnr"]
    return replace(_scored(record, value=score.value + by, low=score.low + by, high=score.high + by), **changes)


FORGERIES = {
    "ceiling": (
        lambda record: _higher(record, 20.0, truth={**record.truth, "ceiling": 20.0}),
        r"the ground truth resolves 20 dB",
    ),
    "failed": (lambda record: _without_values(record, "failed"), "says failed, but it is ok now"),
    "skipped": (lambda record: _without_values(record, "skipped"), "says skipped, but it is ok now"),
    "timeout": (lambda record: _without_values(record, "timeout"), "says timeout, but it is ok now"),
    "low": (lambda record: _scored(record, low=record.metrics["psnr"].low - 1.0), "psnr low"),
    "high": (lambda record: _scored(record, high=record.metrics["psnr"].high + 1.0), "psnr high"),
    "median": (lambda record: _scored(record, details={**record.metrics["psnr"].details, "median": 70.0}), "psnr median 70"),
    "n": (lambda record: _scored(record, "width", details={"n": 4000.0}), "width n 4000"),
    "direction": (lambda record: _scored(record, "width", direction="higher"), "the direction of width"),
    "unit": (lambda record: _scored(record, unit="points"), "the unit of psnr"),
    "samples": (
        lambda record: replace(record, per_sample={"psnr": tuple(reversed(record.per_sample["psnr"]))}),
        "by sample are .* off on average",
    ),
    "fewer samples": (lambda record: replace(record, per_sample={}), "has 0 values of psnr by sample"),
    "replicates": (lambda record: replace(record, replicates={"width": (1.0, 2.0)}), "has 2 values of width by replicate"),
    "model": (
        lambda record: replace(record, model={**record.model, "fingerprint": "0" * 64}),
        "come from 2 versions",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forgeries_with_hashes_that_fit_are_found(store, host, forgery):
    change, said = FORGERIES[forgery]
    forge(store, change)
    faults = _verify(store, host, cells=None).faults
    assert any(re.search(said, fault) for fault in faults), faults


def test_workers_run_many_cells_again_and_find_the_same(store, host, monkeypatch):
    forge(store, lambda record: _scored(record, low=record.metrics["psnr"].low - 1.0))
    alone = _verify(store, host, cells=4, seed=3)
    assert any("psnr low" in fault for fault in alone.faults)
    monkeypatch.setattr("bnsbench.report.rerun.worth_processes", lambda *_: True)
    assert _verify(store, host, cells=4, seed=3) == alone


def test_replicates_are_compared_value_by_value(original):
    record = next(record for record in ResultStore(original).records() if "width" in record.metrics)

    def of_width(*values):
        return replace(record, replicates={"width": values})

    made, other, missing = of_width(1.0, 2.0, None), of_width(1.0, 2.5, None), of_width(1.0, None, 3.0)
    assert list(differences(made, made)) == []
    (fault,) = differences(made, other)
    assert "the values of width by replicate are 0.25 off on average" in fault
    assert any("undefined in other places" in fault for fault in differences(made, missing))


def test_a_competitor_that_is_left_out_of_the_plan_is_found(store, host):
    record = next(store.records())
    store.plan_file.write_text(store.plan_file.read_text().replace(f' "{record.key}",\n', ""))
    store.record_file(record.key).unlink()
    write_reports(store)
    (fault,) = _verify(store, host, cells=0).faults
    assert fault == f"1 cells of suite.toml are not in plan.json, such as {record.key}."


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("guidance", 7.5, "was made for guidance 7.5 in place of 1"),
        ("name", "bns", "was made for the solver bns in place of learned"),
        ("model", "another", None),
    ],
)
def test_a_solver_file_of_another_origin_is_found(store, host, key, value, said):
    file = next(file for file in sorted(store.solvers.iterdir()) if file.name.startswith("tiny"))
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    write_reports(store)
    faults = _verify(store, host, cells=0).faults
    assert any(said in fault for fault in faults) if said else not faults


@pytest.mark.parametrize(("key", "value"), [("path", {"name": "cosine"}), ("interval", [0.0, 0.5])])
def test_a_solver_file_of_another_path_is_not_run(store, host, key, value):
    for file in store.solvers.iterdir():
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    write_reports(store)
    faults = _verify(store, host, cells=None).faults
    assert any("it is failed now" in fault and "made for something else" in fault for fault in faults), faults


def test_cells_are_drawn_anew_each_time_and_the_seed_is_told(store, host):
    seeds = {_verify(store, host, cells=0).seed for _ in range(4)}
    assert len(seeds) > 1
    assert _verify(store, host, cells=0, seed=7).seed == 7


def test_cells_that_failed_are_run_again(store, host):
    """With the suite's own, a solver that fails then and now agrees with its record."""
    text = store.suite_file.read_text().replace('"steps", "pairs", "learned"', '"steps", "raises", "dies"')
    options = RunOptions(str(store.suite_file), results=store.folder.parent.parent / "again", device="cpu")
    (store.folder / "small.toml").write_text(text)
    options = replace(options, suite=str(store.folder / "small.toml"), models=["plain"], executor="processes[workers=1]")
    run_and_report(options, host, RunListener())
    found = _verify(ResultStore(Path(options.results) / "small"), host, cells=1)
    assert (found.faults, found.records, found.rerun) == ((), 6, 1 + 4)


def test_the_reason_of_another_value_is_told(store):
    record = next(store.records())
    other = _higher(replace(record, model={**record.model, "fingerprint": "0" * 64}), 2.0)
    told = list(differences(record, other))
    assert re.search(r"its fingerprint was [0-9a-f]{12} and is 000000000000\.$", told[0])
    assert all(text.endswith("(the model has changed).") for text in told[1:])
    assert len(told) > 1
    before, now = (_scored(record, "width", details={"n": 40.0, "files": files}) for files in ("aa", "bb"))
    told = list(differences(before, _scored(now, "width", value=99.0, details=now.metrics["width"].details)))
    assert told[0].endswith("the files that width reads have changed since.")
    assert told[1].endswith("(its files have changed).")


def test_altered_suite_is_found(store, host):
    store.suite_file.write_text(store.suite_file.read_text().replace("seed = 0", "seed = 1"))
    write_reports(store)
    assert any("suite.toml does not give" in fault for fault in _verify(store, host, cells=0).faults)


def test_metrics_of_another_version_are_found(store, host):
    """A metric whose classifier has been trained again measures something else, even where the numbers agree."""
    records = [record for record in store.records() if record.status == "ok"]
    for record in records[:2]:
        scores = {**record.metrics, "width": replace(record.metrics["width"], version="1+0123456789ab")}
        store.record_file(record.key).write_text(format_record(replace(record, metrics=scores)))
    write_reports(store)
    (fault,) = _verify(store, host, cells=None).faults
    assert fault.startswith(f"2 records lack a metric in the version that it has here, such as {records[0].key}")


def test_missing_files_are_found(store, host):
    sorted(store.solvers.iterdir())[0].unlink()
    sorted(store.cells.iterdir())[0].unlink()
    faults = " ".join(_verify(store, host, cells=0).faults)
    assert "solvers/" in faults
    assert "The record of" in faults


def test_planted_files_are_found(store, host):
    (store.cells / "planted.json").write_text("{}")
    assert any("planted.json is not listed" in fault for fault in _verify(store, host, cells=0).faults)


def test_trained_solvers_are_not_trained_again(store, host, monkeypatch):
    monkeypatch.setenv("TINY_TRAINING_SECONDS", "not a number, so training would raise")
    assert _verify(store, host, cells=None).faults == ()


def test_sample_has_every_model_and_trained_solvers(store, host):
    cells = make_plan(read_suite(store.suite_file), host)
    for seed in range(5):
        chosen = choose(cells, 4, seed)
        assert len(chosen) == 4
        assert {cell.model.name for cell in chosen} == {"tiny", "plain"}
        assert any(cell.trained for cell in chosen)
        assert [cell for cell in cells if cell in chosen] == chosen
    assert choose(cells, 4, 0) != choose(cells, 4, 1) or choose(cells, 4, 0) != choose(cells, 4, 2)


@pytest.mark.parametrize(("dtype", "change", "faults"), [("float64", 0.06, 1), ("float32", 0.06, 0), ("float32", 0.11, 1)])
def test_tolerance_depends_on_the_precision(store, dtype, change, faults):
    record = replace(next(store.records()), model={"dtype": dtype})
    score = replace(record.metrics["psnr"], value=record.metrics["psnr"].value + change)
    other = replace(record, metrics={**record.metrics, "psnr": score})
    assert len(list(differences(record, other))) == faults


def test_psnr_near_the_truths_ceiling_is_not_told_apart(store):
    record = next(store.records())
    record = replace(record, truth={"ceiling": record.metrics["psnr"].value + 5})
    score = replace(record.metrics["psnr"], value=record.metrics["psnr"].value + 2)
    assert list(differences(record, replace(record, metrics={**record.metrics, "psnr": score}))) == []


def test_files_of_a_metric_that_did_not_apply_are_compared_where_they_are_known(store):
    record = next(store.records())
    old, one, other = (_scored(record, value=None, details=details) for details in ({}, {"files": "a"}, {"files": "b"}))
    assert list(differences(old, one)) == list(differences(one, one)) == []
    (fault,) = differences(one, other)
    assert "the files that psnr reads have changed since" in fault


def test_only_a_diverged_record_may_lack_its_model(store):
    record = next(store.records())
    (fault,) = differences(replace(record, model={"dtype": "float64"}), record)
    assert "the model has changed since" in fault
    diverged = replace(record, status="diverged", metrics={})
    assert list(differences(replace(diverged, model={}), diverged)) == []
    assert list(differences(replace(diverged, model={"fingerprint": "another"}), diverged))


def test_other_facts_must_agree(store):
    record = next(store.records())
    assert list(differences(record, replace(record, forwards=99)))
    assert list(differences(record, replace(record, status="failed", reason="broken")))


def test_what_a_training_has_refused_is_refused_again(tmp_path, monkeypatch):
    """That BST cannot spend an odd budget is known from its training, and no solver's file is there to say it."""
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path / "cache"))
    models = 'models = [{ name = "ring8", tolerance = 1e-4 }]'
    (tmp_path / "odd.toml").write_text(f'samples = 8\nnfe = [3]\nmetrics = ["psnr"]\nsolvers = ["bst", "euler"]\n{models}\n')
    host = PluginHost.load([])
    run_and_report(RunOptions(str(tmp_path / "odd.toml"), results=tmp_path, device="cpu"), host, RunListener())
    store = ResultStore(tmp_path / "odd")
    statuses = {record.cell["solver"]["name"]: (record.status, record.reason) for record in store.records()}
    assert statuses["bst"][0] == "skipped"
    assert "not 3" in statuses["bst"][1]
    found = _verify(store, host, cells=None)
    assert (found.faults, found.exit_code) == ((), 0)
    assert not list((tmp_path / "odd").glob("solvers/*"))
