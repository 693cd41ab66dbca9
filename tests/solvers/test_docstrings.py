"""Each solver's docstring says what its record says, what its function does, and what docs/solvers.md says."""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bnsbench.contract.selectors import parse_selector
from bnsbench.contract.specs import SolverSpec
from bnsbench.errors import UsageError
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import CondOT
from bnsbench.solvers.specs import SOLVERS
from tests.solvers.names import ENTRY
from tests.solvers.test_page import table

each_solver = pytest.mark.parametrize("spec", SOLVERS, ids=lambda spec: spec.name)


def function_of(spec: SolverSpec) -> Callable[..., Any]:
    module, attribute = spec.target.split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function


def paragraphs(spec: SolverSpec) -> list[str]:
    """The paragraphs of a solver's docstring, each on one line, its sections (Args, ...) as they are."""
    found = (inspect.getdoc(function_of(spec)) or "").split("\n\n")
    return [part if part.startswith(("Args:", "Returns:", "Raises:")) else " ".join(part.split()) for part in found]


def paragraph(spec: SolverSpec, title: str) -> str:
    """What stands after a paragraph's title, and "" if there is none of that title."""
    return next((part.removeprefix(f"{title}: ") for part in paragraphs(spec) if part.startswith(f"{title}: ")), "")


def named(text: str) -> set[str]:
    """The functions that a docstring names: words in single backticks, as doubled ones are code."""
    return set(re.findall(r"(?<!`)`(\w+)`(?!`)", text))


def evaluations_a_step(spec: SolverSpec) -> int:
    """Of a full step, from the fewest steps that twelve evaluations can be spent on where all levels are finite."""
    field = FunctionField(lambda t, x: -x, CondOT(), (0.1, 0.9))
    for steps in range(1, 13):
        try:
            function_of(spec)(field, torch.ones(1, 1), 12, grid=torch.linspace(0.1, 0.9, steps + 1, dtype=torch.float64))
        except UsageError:
            continue
        return math.ceil(12 / steps)
    raise AssertionError(spec.name)


@each_solver
def test_order_stages_and_evaluations_are_the_record_s(spec: SolverSpec) -> None:
    found = re.match(r"Order: (\d)\. Stages: (\d)\. (One|Two|Three|Four) evaluations? a step", paragraphs(spec)[1])
    assert found
    assert (int(found[1]), int(found[2])) == (spec.order, spec.stages)
    assert found[3] == ("One", "Two", "Three", "Four")[evaluations_a_step(spec) - 1]


@each_solver
def test_the_reference_is_the_record_s(spec: SolverSpec) -> None:
    assert re.match(rf"{re.escape(spec.reference)}[,. ]", paragraph(spec, "Reference"))


@each_solver
def test_names_elsewhere_are_the_record_s(spec: SolverSpec) -> None:
    said = paragraph(spec, "Also known as")
    for entry in spec.known_as:
        found = ENTRY.fullmatch(entry)
        assert found
        assert found["theirs"].partition("[")[0] in said
        assert ("authors'" if "et al." in found["software"] else found["software"]) in said
        assert "eta = 0" in said or found["condition"] != "eta 0"


PAGE = {row[0].strip("`"): row for row in table("solver")}


@each_solver
def test_confusions_are_those_of_the_page(spec: SolverSpec) -> None:
    """Our solvers among them, by selectors there and by functions here; and both have some, or none."""
    functions = {each.name: function_of(each).__name__ for each in SOLVERS}
    cell, said = PAGE[spec.name][4], paragraph(spec, "Not to be confused with")
    there = {parse_selector(text)[1] for text in re.findall(r"`([a-z][a-z0-9+-]+(?:\[[^`]*\])?)`", cell)}
    assert named(said) == {functions[name] for name in there if name in functions}
    assert bool(said) == bool(cell)


@each_solver
def test_it_says_when_to_use_it(spec: SolverSpec) -> None:
    assert paragraph(spec, "When to use it").endswith(".")


@each_solver
def test_arguments_results_and_errors_are_described(spec: SolverSpec) -> None:
    sections = {part.partition(":")[0]: part for part in paragraphs(spec) if part.startswith(("Args", "Returns", "Raises"))}
    assert list(sections) == ["Args", "Returns", "Raises"]
    described = re.findall(r"^    (\w+): .", sections["Args"], re.MULTILINE)
    assert described == list(inspect.signature(function_of(spec)).parameters)
    assert "UsageError: If " in sections["Raises"]


@each_solver
def test_every_solver_that_a_docstring_names_exists(spec: SolverSpec) -> None:
    known = {function_of(each).__name__ for each in SOLVERS} | {"time_grid"}
    assert named("\n".join(paragraphs(spec))) <= known
