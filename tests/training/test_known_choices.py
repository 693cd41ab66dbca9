"""The lists of objectives and families say what the code does."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature
from pkgutil import resolve_name
from typing import Any

import pytest

from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from bnsbench.training import objectives
from bnsbench.training.distil import DERIVATIVES, OPTIMISERS, Choices
from bnsbench.training.known_choices import FAMILIES, FORMS, OBJECTIVES
from bnsbench.training.objectives import make_objective
from bnsbench.training.recipes.bns import COLUMNS, LADDERS, rung_below
from bnsbench.training.tuning.tuned_classics import FEWEST


def test_every_objective_is_listed_in_the_codes_order():
    assert tuple(each.name for each in OBJECTIVES) == objectives.OBJECTIVES
    assert [each.name for each in FORMS] == ["soft", "own"]


@pytest.mark.parametrize("name", [each.name for each in OBJECTIVES])
def test_objectives_are_made_by_their_names_with_a_soft_teacher_or_not(name):
    for written in (name, FORMS[0].written.replace("OBJECTIVE", name)):
        made = make_objective(written, lambda x: x)
        assert (made.name, made.logarithmic) == (written, name.startswith("log-"))


def test_the_families_are_the_solvers_that_are_made_for_a_model():
    solvers = {spec.name: spec for spec in PluginHost.load().solvers if spec.trained and spec.provider == "builtin"}
    assert {family.name for family in FAMILIES} == set(solvers)
    for family in FAMILIES:
        assert {option.name: option.default for option in family.options} == dict(solvers[family.name].parameters)
        assert family.written.startswith(f"{family.name}[")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_who_calls_a_trainer_gets_the_defaults_that_are_listed(family):
    trainer = resolve_name(PluginHost.load().solver(family.name).spec.target)
    own = {each.name: each.default for each in signature(trainer).parameters.values() if each.default is not each.empty}
    shared = {field.name: field.default for field in fields(Choices)} if "choices" in signature(trainer).parameters else {}
    assert {option.name: option.default for option in family.options} == {**shared, **own}


def test_ranges_are_those_of_the_code():
    allowed = {option.name: option.allowed for family in FAMILIES for option in family.options}
    assert allowed["optimiser"].split(", ") == list(OPTIMISERS)
    assert allowed["derivative"].split(", ") == list(DERIVATIVES)
    assert sorted(allowed["ladder"].split(", ")) == sorted(LADDERS)
    assert tuple(allowed["columns"].split(", ")) == COLUMNS
    tuned = {option.name: option.allowed for option in FAMILIES[-1].options}
    assert tuned["pairs"] == f"at least {FEWEST}"
    assert {field.name for field in fields(Choices)} <= set(allowed)
    for name in ("pairs", "iterations", "gain", "rate"):
        wrong: dict[str, Any] = {name: -1}
        with pytest.raises(UsageError):
            Choices(**wrong)
    with pytest.raises(UsageError):
        rung_below(8, "steep")
