"""What a record and its solver file must agree with, and what they cannot both say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bnsbench.report.environments import environment_faults
from bnsbench.report.records import contradictions
from bnsbench.suite.record import Record, Score
from bnsbench.suite.store import ResultStore

VALUES = (20.0, 21.0, 22.0, 25.0)


def record(**changes):
    """A record whose interval is not told, only what follows at sight."""
    score = Score("1", "higher", "dB", 22.0, details={"n": 4.0, "median": 21.5, "p05": 20.15})
    cell = {"samples": 4, "model": {"provider": "builtin"}, "solver": {"provider": "acme"}}
    made = Record("cell-0", cell, "ok", metrics={"psnr": score}, per_sample={"psnr": VALUES})
    made = replace(
        made, environment={"bnsbench": "1", "torch": "2", "device": "cpu"}, seconds={"sampling": 0.1, "total": 1.0}
    )
    return replace(made, **changes)


def scored(**changes):
    made = record()
    return replace(made, metrics={"psnr": replace(made.metrics["psnr"], **changes)})


def test_an_honest_record_does_not_contradict_itself():
    assert list(contradictions(record())) == []
    assert list(contradictions(scored(value=22.0001))) == []  # rounding of the values by sample


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (scored(value=22.01), "value of psnr is 22 by its samples"),
        (scored(low=21.0), "low of psnr"),
        (scored(high=24.0), "high of psnr"),
        (scored(details={"median": 22.0}), "median of psnr is 21.5"),
        (scored(details={"p05": 21.0}), "p05 of psnr is 20.15"),
        (scored(details={"n": 5.0}), "n of psnr is 4"),
        (record(per_sample={"psnr": VALUES, "width": VALUES}), "no value of it"),
        (record(replicates={"width": VALUES}), "no value of it"),
        (record(reason="a secret"), "gives a reason against it"),
        (record(cell={"samples": 5}), "there are 4 values of psnr for 5 samples"),
        (record(seconds={"total": -1.0}), "cannot have taken -1.0 seconds"),
        (record(seconds={"total": float("nan")}), "cannot have taken nan seconds"),
        (record(seconds={"sampling": 1.0, "total": 1.0}), "sampling took 4 seconds, more than the cell"),
    ],
)
def test_what_cannot_be_true_is_told(made, said):
    assert any(said in sentence for sentence in contradictions(made)), list(contradictions(made))


def test_an_undefined_sample_is_no_contradiction():
    assert list(contradictions(record(per_sample={"psnr": (20.0, None, 22.0, 25.0)}))) == []


ENVIRONMENT = {
    "bnsbench": "1",
    "code": "c",
    "python": "3",
    "system": "Linux",
    "machine": "x86_64",
    "packages": {"torch": "2"},
    "plugins": {"builtin": "1", "acme": "2"},
}


@pytest.fixture
def store(tmp_path):
    found = ResultStore(tmp_path)
    found.write_environment(ENVIRONMENT)
    return found


def test_a_whole_environment_has_no_faults(store):
    assert list(environment_faults(store, [record()])) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bnsbench": None}, "does not say the bnsbench of the run"),
        ({"python": ""}, "does not say the python of the run"),
        ({"packages": {}}, "which version of torch was used"),
        ({"plugins": []}, "which plugins were installed"),
        ({"plugins": {"builtin": "1"}}, "which version of the plugin acme was used"),
    ],
)
def test_what_an_environment_does_not_name_is_told(store, changes, said):
    store.write_environment({**ENVIRONMENT, **changes})
    (fault,) = environment_faults(store, [record()])
    assert said in fault


@pytest.mark.parametrize("text", ["", "[", "[]", "3", "[" * 10**5, "\ud800"])
def test_a_damaged_environment_is_one_sentence(store, text):
    store.environment_file.write_bytes(text.encode("utf-8", "surrogatepass"))
    (fault,) = environment_faults(store, [record()])
    assert "is damaged" in fault


def test_only_what_was_run_needs_an_environment(store):
    store.environment_file.unlink()
    assert "is missing" in next(environment_faults(store, [record()]))
    assert list(environment_faults(store, [record(status="skipped", environment={})])) == []


def test_a_record_names_its_versions(store):
    (fault,) = environment_faults(store, [record(environment={"bnsbench": "1"})])
    assert "cell-0: the record does not say with which versions" in fault
