"""Records: frozen, with the defaults that plugin authors rely on; budgets."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnsbench.contract.specs import (
    Budgets,
    ExecutorSpec,
    ExporterSpec,
    MetricSpec,
    ModelSpec,
    PathSpec,
    ReportSpec,
    SolverSpec,
)


@pytest.mark.parametrize("kind", [ModelSpec, SolverSpec, MetricSpec, ExecutorSpec, ReportSpec, ExporterSpec, PathSpec])
def test_name_and_target_suffice(kind):
    record = kind("name", "module:attribute")
    assert (record.version, dict(record.parameters), record.provider) == ("1", {}, "")
    with pytest.raises(FrozenInstanceError):
        record.name = "other"


def test_default_parameters_are_not_shared():
    assert ModelSpec("a", "m:a").parameters is not ModelSpec("b", "m:b").parameters


def test_solvers_are_traced_and_spend_anything_unless_they_say_otherwise():
    record = SolverSpec("name", "module:attribute")
    assert (record.kind, record.stages) == ("traced", 1)
    assert all(record.budgets.reason_against(nfe) is None for nfe in range(1, 50))


@given(minimum=st.integers(1, 9), step=st.integers(1, 5), nfe=st.integers(0, 40))
def test_budgets_are_an_arithmetic_progression(minimum, step, nfe):
    allowed = nfe in range(minimum, 41, step)
    assert (Budgets(minimum, step).reason_against(nfe) is None) == allowed


def test_reasons_name_the_numbers():
    assert Budgets(4, 4).reason_against(2) == "needs at least 4 evaluations, not 2"
    assert Budgets(2, 2).reason_against(5) == "spends 2, 4, 6, ... evaluations, not 5"
