"""What is said of a table and of a training record."""

from __future__ import annotations

import pytest
import torch

from bnsbench.flows.guidance import guidance_in_words
from bnsbench.flows.paths import VP, CondOT
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.properties import Distance
from bnsbench.nonstationary.table import NonStationarySolver
from bnsbench.nonstationary.tracing import trace
from bnsbench.report.solver_words import (
    names_in_words,
    names_of_weights,
    origin_in_words,
    properties_in_words,
    start_of,
)
from bnsbench.solvers.runge_kutta import euler

TABLE = NonStationarySolver(torch.tensor([0.0, 0.25, 1.0]), torch.ones(2), torch.tensor([[0.25, 0.0], [0.25, 0.75]]))
START = NonStationarySolver(
    torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 0.875]), torch.tensor([[0.5, 0.0], [0.5, 0.5]])
)


def artefact(training, guidance=2.0):
    return SolverArtefact(TABLE, CondOT(), (0.0, 1.0), "ring8", "f" * 64, guidance, "bns", training)


def test_names_in_words():
    assert names_in_words(()) == []
    assert names_in_words(("a (b)", "c[d=1] at e 0 (f): g")) == ["also known as: a (b); c[d=1] at e 0 (f): g"]


def test_euler_in_words():
    lines = properties_in_words(trace(lambda field, x0: euler(field, x0, 4), CondOT()), CondOT())
    assert [line.split(" (")[0] for line in lines[:5]] == [
        "largest |b|: 0.25",
        "times increase strictly: yes",
        "start gain: 1",
        "noise gain: 0.5, at most 0.5 on the way, Euler 0.5",
        "stability limit: 8, Euler 8",
    ]
    assert lines[5] == "decay: its x[n] misses exp(z) by 0.051 at z = -1, 0.018 at z = -4, where T = t[n] - t[0]"
    assert lines[6] == "all rows fulfil the sum rules of the path; largest residual: noise 0.00e+00, data 0.00e+00"
    assert "a[i] = 1" in lines[7]


def test_missed_sum_rules_are_explained():
    lines = properties_in_words(TABLE, VP())
    assert "some rows miss the sum rules of the path" in lines[6]
    assert [line.split(":")[0].strip() for line in lines[7:]] == ["noise", "data"]


def test_a_full_record_in_words():
    record = {
        "family": "free",
        "objective": "log-mse",
        "optimiser": "gauss-newton",
        "start": {"name": "bns at 6 NFE", "table": START.to_dict()},
        "pairs": 256,
        "validation_pairs": 128,
        "psnr": 41.254,
        "forwards": {"teacher": 1500, "training": 2000},
        "seconds": 61.27,
        "stopped": "no better for 5 iterations",
    }
    assert origin_in_words(artefact(record)) == [
        "trained for ring8 at guidance 2, weights ffffffffffff",
        "family free, objective log-mse, optimiser gauss-newton",
        "started from bns at 6 NFE, largest differences: times 0.25, a 0.125, b 0.25",
        "trained on 256 pairs, validation PSNR 41.25 dB over 128 pairs",
        "cost: 3,500 network forwards (teacher 1,500, training 2,000), 61.3 seconds",
        "stopped: no better for 5 iterations",
    ]


@pytest.mark.parametrize("record", [{}, {"psnr": None, "start": None, "forwards": {}, "seconds": None, "stopped": ""}])
def test_what_a_record_lacks_is_left_out(record):
    assert origin_in_words(artefact(record)) == ["trained for ring8 at guidance 2, weights ffffffffffff"]


ODD: list[object] = [
    None,
    True,
    "x",
    3,
    1.5,
    [],
    [1],
    {},
    {"a": "b"},
    {"a": None},
    {"name": 3, "table": 3},
    {"table": {"times": []}},
]
TEXTS = ("rule", "grid", "stopped", "start", "family", "objective")
NUMBERS = ("pairs", "psnr", "validation_pairs", "forwards", "seconds")


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_odd_entries_of_a_record_cost_their_line_at_most(odd):
    for key in TEXTS + NUMBERS:
        assert origin_in_words(artefact({key: odd}))[0] == "trained for ring8 at guidance 2, weights ffffffffffff"
    assert origin_in_words(artefact(dict.fromkeys(TEXTS + NUMBERS, odd)))


@pytest.mark.parametrize(("guidance", "words"), [(2.0, "2"), (1.5, "1.5"), (0, "0"), ((0.0, 2.0, 6.5), "0, 2, 6.5")])
def test_guidance(guidance, words):
    assert guidance_in_words(guidance) == words


OTHER_SIZE = NonStationarySolver(torch.tensor([0.0, 1.0]), torch.ones(1), torch.ones(1, 1)).to_dict()


@pytest.mark.parametrize(
    ("start", "found", "line"),
    [
        ("a grid", ("a grid", None), "started from a grid"),
        ({"name": "euler"}, ("euler", None), "started from euler"),
        ({"name": "euler", "table": OTHER_SIZE}, ("euler", None), "started from euler"),
        (
            {"table": START.to_dict()},
            (None, Distance(0.25, 0.125, 0.25)),
            "started from a table of its record, largest differences: times 0.25, a 0.125, b 0.25",
        ),
    ],
)
def test_starts(start, found, line):
    made = artefact({"start": start})
    assert start_of(made) == found
    assert origin_in_words(made)[1] == line


def test_split_columns_are_told_with_their_guidance():
    table = TABLE.split(2.5)
    assert names_of_weights(table.rows) == ["b[i,0]", "c[i,0]", "b[i,1]", "c[i,1]"]
    assert names_of_weights(TABLE.rows) == ["b[i,0]", "b[i,1]"]
    lines = properties_in_words(table, CondOT())
    assert lines[0].startswith("columns are split: b[i,j] weighs u[j] with the condition")
    assert "for guidance 2.5 alone" in lines[0]
    assert lines[1] == "largest |b|: 2.625"
