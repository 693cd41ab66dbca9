from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import bnsbench
from bnsbench.contract import PluginHost
from bnsbench.metrics import base
from bnsbench.process.machine import cache_folder
from bnsbench.storage import spare
from bnsbench.suite import context as context_module
from bnsbench.suite.cells import run_cell
from bnsbench.suite.context import CellContext, Job
from bnsbench.suite.plan import make_plan
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import override, read_suite
from bnsbench.suite.trained import TrainedSolvers
from bnsbench.truth import pairs

STUDENTS = Path(__file__).parents[1] / "solvers" / "student_plugin.py"


@pytest.fixture
def job(host, tmp_path):
    return Job(host, ResultStore(tmp_path / "out"), cache_folder(), batch=16, threads=1)


@pytest.fixture
def run(job, suite_file, host):
    """Run the one cell that a solver at an NFE gives on a model."""

    def run(solver, nfe=4, model="tiny", guidance=0.0, context=None, **changes):
        suite = override(read_suite(suite_file), models=[model], guidance=[guidance], solvers=[solver], nfe=[nfe], **changes)
        (cell,) = make_plan(suite, host)
        return run_cell(cell, context or CellContext(job))

    return run


def test_record_of_a_traced_cell(run):
    record = run("steps", guidance=1.0)
    assert (record.status, record.reason, record.nfe, record.forwards, record.train_forwards) == ("ok", "", 4, 8, 0)
    assert set(record.metrics) == {"psnr", "width"}
    assert len(record.per_sample["psnr"]) == 40
    assert record.metrics["psnr"].value == pytest.approx(sum(record.per_sample["psnr"]) / 40, abs=1e-4)
    assert record.metrics["psnr"].low < record.metrics["psnr"].value < record.metrics["psnr"].high
    assert record.truth["ceiling"] > record.metrics["psnr"].value
    assert record.model["dtype"] == "float64"
    assert len(record.solver["fingerprint"]) == 64
    assert record.solver["kind"] == "classic"


def test_record_of_a_metric_with_replicates_and_files(run):
    record = run("steps", metrics=["psnr", "spread", "spread[file=data]"])
    value = record.metrics["spread"].value
    assert set(record.replicates) == {"spread", "spread[file=data]"}
    assert list(record.replicates["spread"]) == [float(f"{value + k / 3:.6g}") for k in range(5)]
    assert "files" not in record.metrics["spread"].details
    assert record.metrics["spread[file=data]"].details["files"] == "content of data"
    assert set(record.per_sample) == {"psnr"}


def test_a_truth_that_diverges_has_the_model_in_its_record(run):
    record = run("steps", model="lost")
    assert (record.status, record.model["dtype"], len(record.model["fingerprint"])) == ("diverged", "float64", 64)
    assert record.reason.startswith("The ground truth of 40 of 40 samples of the test split cannot be solved")


@pytest.mark.parametrize("previews", [True, False])
def test_samples_that_decode_to_nothing_are_diverged(run, job, previews):
    """Whatever the metrics look at; 40 samples are decoded by 16."""
    record = run("steps", model="blind", context=CellContext(replace(job, previews=previews)))
    assert record.status == "diverged"
    assert record.reason.endswith("3 of 40 decoded samples are not finite.")
    assert not record.metrics


def test_psnr_is_that_of_an_independent_euler(run, job, host, suite_file):
    """Integrate by hand, without engine, tracing or batches, and compare with the record."""
    record = run("steps", nfe=4)
    context = CellContext(job)
    suite = override(read_suite(suite_file), models=["tiny"], guidance=[0.0], solvers=["steps"], nfe=[4])
    pairs = context.field_state(make_plan(suite, host)[0]).test_pairs(40)
    x = pairs.x0[:].clone()
    for k in range(4):
        x += pairs.field(torch.tensor(k / 4), x) / 4
    mse = (x - pairs.x1).square().mean(1)
    assert record.metrics["psnr"].value == pytest.approx(float((10 * torch.log10(4 / mse)).mean()), abs=1e-6)


def test_direct_and_traced_runs_of_a_sampler_agree(run):
    assert run("live").metrics["psnr"].value == pytest.approx(run("steps").metrics["psnr"].value, abs=1e-9)


@pytest.mark.parametrize("batch", [1, 7, 40, 1000])
def test_results_do_not_depend_on_the_batch(run, job, batch):
    reference = run("learned", guidance=1.0)
    other = run("learned", guidance=1.0, context=CellContext(replace(job, batch=batch)))
    assert other.metrics["psnr"].value == pytest.approx(reference.metrics["psnr"].value, abs=1e-9)


@pytest.mark.parametrize(
    ("solver", "status", "said"),
    [
        ("greedy", "failed", "overspent: it used 5 evaluations instead of 4"),
        ("lazy", "failed", "underspent: it used 3 evaluations instead of 4"),
        ("nan", "diverged", "9 of 40 samples are not finite"),
        (
            "raises",
            "failed",
            r"^the solver raises of the plugin tiny_plugin raised ValueError: I do not feel like it \(tiny_p",
        ),
        ("speaks", "failed", "^the solver speaks of the plugin tiny_plugin: it returned a str instead of states$"),
        ("reshapes", "failed", r"it returned states of shape \[16, 1\] instead of \[16, 2\]"),
    ],
)
def test_misbehaving_solver_gives_a_record_with_its_reason(run, solver, status, said):
    record = run(solver)
    assert record.status == status
    assert record.metrics == {}
    assert "\n" not in record.reason
    assert re.search(said, record.reason)


def test_broken_model_gives_a_record_with_its_reason(run):
    record = run("steps", model="broken")
    assert record.status == "failed"
    assert record.reason.startswith(
        "the model broken of the plugin tiny_plugin raised RuntimeError: no weights for you (tiny_"
    )


def test_a_metric_that_does_not_apply_has_its_reason(run):
    record = run("steps", metrics=["psnr", "never"])
    assert record.status == "ok"
    assert (record.metrics["never"].value, record.metrics["never"].reason) == (None, "points have no such thing")


def test_a_metric_that_raises_fails_the_cell_and_keeps_the_others(run):
    record = run("steps", metrics=["faulty", "psnr", "width"])
    assert record.status == "failed"
    assert "the metric faulty of the plugin tiny_plugin raised ZeroDivisionError: nothing to divide" in record.reason
    assert set(record.metrics) == {"psnr", "width"}


def test_stochastic_solver_repeats_itself_and_leaves_the_global_state(run):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    values = {run("random").metrics["psnr"].value for _ in range(2)}
    assert len(values) == 1
    assert torch.equal(torch.get_rng_state(), before)
    assert values != {run("live").metrics["psnr"].value}


def test_trained_solver_is_stored_and_found_again(run, job, monkeypatch):
    first = run("learned", nfe=4)
    assert first.status == "ok"
    assert first.train_forwards == 80
    assert first.solver["forwards"] == {"teacher": 40, "training": 40, "validation": 0}
    # Training for 4 evaluations asked for the solver of 2, which is kept as well.
    assert len(list(job.store.solvers.glob("*.json"))) == 2
    monkeypatch.setenv("TINY_TRAINING_SECONDS", "not a number, so training would raise")
    second = run("learned", nfe=4)
    assert (second.status, second.solver) == (first.status, first.solver)
    assert second.per_sample == first.per_sample
    assert run("learned", nfe=2).status == "ok"


def test_damaged_solver_file_is_told_of_and_trained_again(run, job, recorder):
    first = run("learned", nfe=2)
    (file,) = job.store.solvers.glob("*.json")
    file.write_text(file.read_text()[:-50])
    context = CellContext(job)
    context.listener = recorder
    second = run("learned", nfe=2, context=context)
    assert second.solver["fingerprint"] == first.solver["fingerprint"]
    assert any(str(file) in text for text in recorder.notices)


@pytest.mark.parametrize(
    ("solver", "kind", "grid", "rule"), [("learned", "learned", "", ""), ("searched", "tuned", "logsnr:-5:5", "ab2")]
)
def test_records_say_what_kind_of_solver_it_is(run, solver, kind, grid, rule):
    record = run(solver)
    assert record.status == "ok"
    assert {name: record.solver[name] for name in ("kind", "grid", "rule")} == {"kind": kind, "grid": grid, "rule": rule}
    assert record.train_forwards > 0
    assert run("live").solver == {"kind": "direct"}


def test_training_can_be_forbidden(run, job):
    record = run("learned", context=CellContext(replace(job, train=False)))
    assert record.status == "failed"
    assert "missing or damaged" in record.reason


def test_model_runs_in_the_named_precision(run):
    record = run("steps", dtype="float32")
    assert record.model["dtype"] == "float32"
    assert record.metrics["psnr"].value == pytest.approx(run("steps").metrics["psnr"].value, abs=0.01)


def test_an_environment_that_cannot_be_told_fails_its_cell_alone(run, job, monkeypatch):
    """Nothing that a record says is found out beyond the cell's own guard."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: {}[device])
    record = run("steps", context=CellContext(replace(job, device="cuda:77")))
    assert (record.status, record.reason.split(" (")[0]) == ("failed", "KeyError: 'cuda:77'")
    assert record.seconds.keys() == {"total", "spent", "network"}
    assert record.seconds["network"] == {}


@pytest.fixture
def card(monkeypatch):
    """Stand in for a CUDA device of which torch has taken 3 MB when a cell begins, and 7 MB at most from then on."""
    peak = [3_000_000]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device}")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peak.append(7_000_000))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peak[-1])


def test_a_cell_on_a_card_tells_its_memory_also_where_it_fails(run, job, card, monkeypatch):
    monkeypatch.setattr(CellContext, "field_state", lambda *_: (_ for _ in ()).throw(RuntimeError("no kernel image")))
    record = run("steps", context=CellContext(replace(job, device="cuda:1")))
    assert (record.status, record.reason.split(" (")[0]) == ("failed", "RuntimeError: no kernel image")
    assert record.environment["device_name"] == "card cuda:1"
    assert record.environment["peak_memory"] == 7_000_000


def test_a_cell_on_the_cpu_tells_no_memory(run):
    assert not {"peak_memory", "device_name", "deterministic"} & run("steps").environment.keys()


def test_deterministic_algorithms_are_on_while_a_cell_runs_and_recorded(run, job, monkeypatch):
    seen = []
    own = CellContext.field_state

    def field_state(*arguments):
        seen.append(torch.are_deterministic_algorithms_enabled())
        return own(*arguments)

    monkeypatch.setattr(CellContext, "field_state", field_state)
    record = run("steps", context=CellContext(replace(job, deterministic=True)))
    assert (record.status, record.environment["deterministic"]) == ("ok", True)
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()
    assert run("steps").metrics == record.metrics


@pytest.mark.parametrize(
    ("forwards", "said"),
    [
        ({"teacher": "many"}, "it returned the text 'many' as the forwards for teacher, where a whole number belongs"),
        ([1, 2], "it returned a list as the forwards of its training, where names with values belong"),
        ({"teacher": None}, "it returned None as the forwards for teacher, where a whole number belongs"),
    ],
)
def test_a_training_record_that_cannot_be_read_fails_its_cell_alone(run, monkeypatch, forwards, said):
    def get(self, cell, solver):
        artefact = train(self, cell, solver)
        return replace(artefact, training={**artefact.training, "forwards": forwards})

    train = TrainedSolvers.get
    monkeypatch.setattr(TrainedSolvers, "get", get)
    record = run("learned", nfe=2)
    assert (record.status, record.reason) == ("failed", f"the solver learned of the plugin tiny_plugin: {said}")


def test_listeners_hear_what_a_cell_is_at(run, job, recorder):
    context = CellContext(replace(job, cache=job.cache / "empty"))
    context.listener = recorder
    run("learned", nfe=2, context=context)
    assert recorder.stages[0].startswith("ground truth tiny w=0 test")
    assert "training learned" in recorder.stages
    assert recorder.stages[-1] == "metrics"
    other = type(recorder)()
    context.listener = other
    run("learned", nfe=2, context=context, samples=200)
    assert other.stages[0].startswith("ground truth tiny w=0 test")
    assert "training learned" not in other.stages  # it was found
    assert other.stages[-1] == "metrics"


def test_record_of_a_distilled_cell(tmp_path):
    """A student that has learned the guidance of the exact digits gives what Euler's rule gives, by half the forwards."""
    host = PluginHost.load([STUDENTS])
    quick = read_suite(Path(bnsbench.__file__).parent / "suite" / "suites" / "quick.toml")
    options = {"models": ["digits-gmm"], "guidance": [2.0], "solvers": ["euler", "perfect"], "nfe": [4, 3]}
    suite = override(quick, **options, samples=16, metrics=["psnr"])
    cells = {(cell.solver.name, cell.nfe): cell for cell in make_plan(suite, host)}
    context = CellContext(Job(host, ResultStore(tmp_path / "out"), cache_folder(), batch=16, threads=1))
    student, euler = run_cell(cells["perfect", 4], context), run_cell(cells["euler", 4], context)
    assert (student.status, student.nfe, student.forwards, euler.forwards) == ("ok", 4, 4, 8)
    assert student.metrics["psnr"].value == pytest.approx(euler.metrics["psnr"].value, abs=1e-6)
    assert student.solver == {
        "kind": "distilled",
        "fingerprint": "5" * 64,
        "forwards": {"teacher": 600, "training": 300},
        "parameters": 0,
        "examples": 100,
    }
    assert student.train_forwards == 900
    assert cells["perfect", 4].forwards == 4
    missing = run_cell(cells["perfect", 3], context)
    assert (missing.status, missing.reason) == ("skipped", "it has no such student")


def test_a_large_set_is_judged_as_a_small_one(run, job, monkeypatch):
    """Its noise is drawn in parts, its samples are not held twice, and its field does not stay beside another."""
    metrics = ["psnr", "width", "spread"]
    small = run("steps", metrics=metrics)
    for module in (pairs, spare, context_module):
        monkeypatch.setattr(module, "HELD_NUMBERS", 10)
    monkeypatch.setattr(base, "KEPT_NUMBERS", 10)
    context = CellContext(job)
    large = run("steps", metrics=metrics, context=context)
    assert large.status == "ok"
    assert {name: score.value for name, score in large.metrics.items()} == {
        name: score.value for name, score in small.metrics.items()
    }
    assert large.per_sample == small.per_sample
    assert large.replicates == small.replicates
    assert len(context._fields) == 1
    assert run("steps", model="plain", metrics=metrics, context=context).status == "ok"
    assert len(context._fields) == 1
