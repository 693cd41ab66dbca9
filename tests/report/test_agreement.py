"""Every tolerance that is stated: what lies within it agrees, what lies beyond it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bnsbench.report.agreement import (
    CEILING_MARGIN,
    SINGLE,
    TOLERANCES,
    differences,
    retrained_differences,
)
from bnsbench.suite.record import Record, Score

VALUES = tuple(20.0 + k / 100 for k in range(100))


def record(dtype="float64", **changes):
    scores = {
        "psnr": Score("1", "higher", "dB", 20.0, 19.0, 21.0, details={"n": 100.0, "median": 20.0}),
        "share": Score("1", "higher", "", 0.5, 0.4, 0.6, details={"classifier": "abc"}),
    }
    made = Record(
        key="cell-0",
        cell={"samples": 100},
        status="ok",
        metrics=scores,
        nfe=4,
        forwards=8,
        train_forwards=100,
        solver={"kind": "learned", "file": "a.json", "fingerprint": "f", "psnr": 20.0, "forwards": {"training": 100}},
        truth={"tolerance": 1e-6, "ceiling": 100.0, "nfe": 80.0},
        model={"dtype": dtype, "fingerprint": "m"},
        per_sample={"psnr": VALUES},
        replicates={"share": (0.4, 0.5, 0.6)},
    )
    return replace(made, **changes)


def scored(made, metric="psnr", **changes):
    return replace(made, metrics={**made.metrics, metric: replace(made.metrics[metric], **changes)})


def gridded(**solver):
    return record(solver={**record().solver, "grid": "uniform", **solver})


def told(before, now=None):
    return list(differences(before, now or record(before.model.get("dtype", "float64"))))


def test_a_record_agrees_with_itself():
    assert told(record()) == []


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        (scored(record(), value=20.049), scored(record(), value=20.051)),
        (scored(record("float32"), value=20.099), scored(record("float32"), value=20.101)),
        (scored(record(), low=19.149), scored(record(), low=19.151)),
        (scored(record(), details={"n": 100.0, "median": 20.149}), scored(record(), details={"n": 100.0, "median": 20.151})),
        (scored(record(), "share", value=0.51), scored(record(), "share", value=0.5102)),
        (scored(record(), "share", high=0.633), scored(record(), "share", high=0.635)),
        (
            record(per_sample={"psnr": tuple(value + 0.049 for value in VALUES)}),
            record(per_sample={"psnr": tuple(value + 0.051 for value in VALUES)}),
        ),
        (
            record(per_sample={"psnr": (20.0 + 0.99 * SINGLE * 0.05, *VALUES[1:])}),
            record(per_sample={"psnr": (20.0 + 1.01 * SINGLE * 0.05, *VALUES[1:])}),
        ),
        (record(replicates={"share": (0.409, 0.509, 0.609)}), record(replicates={"share": (0.42, 0.52, 0.62)})),
        (record(truth={"tolerance": 1e-6, "ceiling": 109.0, "nfe": 83.9}), record(truth={"ceiling": 111.0})),
        (record(), record(truth={"tolerance": 1e-6, "ceiling": 100.0, "nfe": 84.1})),
    ],
)
def test_what_is_stated_is_what_is_allowed(within, beyond):
    assert told(within) == []
    assert told(beyond) != []


@pytest.mark.parametrize(
    "changed",
    [
        record(nfe=5),
        record(forwards=4),
        record(train_forwards=99),
        record(status="diverged"),
        record(model={"dtype": "float32", "fingerprint": "m"}),
        record(model={"dtype": "float64", "fingerprint": "other"}),
        record(solver={**record().solver, "kind": "classic"}),
        record(solver={**record().solver, "fingerprint": "other"}),
        record(solver={**record().solver, "psnr": 20.0000001}),
        record(truth={**record().truth, "tolerance": 1e-7}),
        scored(record(), details={"n": 101.0, "median": 20.0}),
        scored(record(), details={"n": 100.0}),
        scored(record(), details={"n": 100.0, "median": 20.0, "more": 1.0}),
        scored(record(), "share", details={"classifier": "abd"}),
        scored(record(), "share", details={}),
        scored(record(), unit="db"),
        scored(record(), direction="lower"),
        scored(record(), value=None),
        scored(record(), low=None),
        record(per_sample={}),
        record(per_sample={"psnr": VALUES[1:]}),
        record(replicates={}),
    ],
)
def test_what_has_no_tolerance_has_none(changed):
    assert told(changed, record()) != []


def test_above_the_ceiling_values_are_not_told_apart():
    low = record(truth={**record().truth, "ceiling": 20.0 + CEILING_MARGIN - 3})
    raised = replace(scored(low, value=22.0, low=21.0, high=23.0, details={"n": 100.0, "median": 22.0}))
    raised = replace(raised, per_sample={"psnr": tuple(value + 2 for value in VALUES)})
    assert list(differences(raised, low)) == []
    fallen = scored(low, value=16.0)
    assert list(differences(fallen, low)) != []


def test_the_fingerprint_of_a_table_that_is_traced_does_not_count():
    before, now = (record(solver={"kind": "classic", "fingerprint": each}) for each in "ab")
    assert list(differences(before, now)) == []


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        (scored(record(), value=20.49), scored(record(), value=20.51)),
        (record(solver={**record().solver, "psnr": 19.51}), record(solver={**record().solver, "psnr": 19.49})),
        (
            record(train_forwards=124, solver={**record().solver, "forwards": {"training": 124}}),
            record(train_forwards=126, solver={**record().solver, "forwards": {"training": 126}}),
        ),
        (record(), record(solver={**record().solver, "forwards": {"teacher": 100}})),
        (
            record(solver={**record().solver, "grid": "a", "fingerprint": "g"}),
            record(solver={**record().solver, "grid": "a"}),
        ),
    ],
)
def test_a_solver_that_is_trained_again_may_differ_by_this(within, beyond):
    assert list(retrained_differences(within, record())) == []
    assert list(retrained_differences(beyond, record())) != []


def test_a_training_that_fails_now_is_told():
    (said,) = retrained_differences(record(), record(status="failed", reason="no luck"))
    assert said == "cell-0: with its solver trained again, the cell is failed in place of ok (no luck)."


def test_every_kind_is_stated_once():
    kinds = [kind for kind, _ in TOLERANCES]
    assert len(set(kinds)) == len(kinds) > 10
