from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from bnsbench.suite.plan import Component, make_plan
from bnsbench.suite.suitefile import Suite, override, read_suite


@pytest.fixture
def suite(suite_file):
    return read_suite(suite_file)


def test_cells_come_by_model_guidance_solver_and_nfe(suite, host):
    cells = make_plan(suite, host)
    order = [(cell.model.name, cell.guidance, cell.solver.name, cell.nfe) for cell in cells]
    assert order[:6] == [("tiny", 0.0, s, n) for s in ("steps", "pairs", "learned") for n in (2, 4)]
    assert order[6][:2] == ("tiny", 1.0)
    assert order[12][:2] == ("plain", 0.0)
    assert len({cell.key for cell in cells}) == len(cells) == 18


def test_keys_do_not_depend_on_the_order_of_anything(suite, host):
    turned = suite.model_copy(
        update={
            "solvers": suite.solvers[::-1],
            "nfe": suite.nfe[::-1],
            "models": suite.models[::-1],
            "metrics": ("width", "psnr"),
        }
    )
    assert {cell.key for cell in make_plan(turned, host)} == {cell.key for cell in make_plan(suite, host)}


def test_keys_ignore_what_does_not_change_results(suite, host):
    counted = tuple(entry.model_copy(update={"gflops": 2.0}) for entry in suite.models)
    same = suite.model_copy(update={"batch": 3, "timeout": 5.0, "summary": "x", "metrics": ("psnr",), "models": counted})
    assert [cell.key for cell in make_plan(same, host)] == [cell.key for cell in make_plan(suite, host)]


@pytest.mark.parametrize("change", [{"seed": 1}, {"samples": 41}, {"dtype": "float32"}])
def test_keys_change_with_what_changes_results(suite, host, change):
    before = {cell.key for cell in make_plan(suite, host)}
    assert before.isdisjoint(cell.key for cell in make_plan(override(suite, **change), host))


def test_key_changes_with_the_components_version(suite, host):
    cell = make_plan(suite, host)[0]
    newer = replace(cell, solver=replace(cell.solver, version="2"))
    assert newer.key != cell.key
    assert newer.key.rsplit("-", 1)[0] == cell.key.rsplit("-", 1)[0]


def test_same_component_written_differently_is_planned_once(host):
    suite = Suite.parse(
        {"name": "s", "nfe": [4], "solvers": ["euler", "euler[grid=uniform]", "builtin/euler"], "models": ["tiny"]}, "x"
    )
    assert [cell.solver.name for cell in make_plan(suite, host)] == ["euler"]


def test_cells_that_cannot_be_run_carry_their_reason(suite, host):
    cells = make_plan(override(suite, nfe=[3], guidance=[0.0, 2.0]), host)
    reasons = {(cell.model.name, cell.guidance, cell.solver.name): cell.skip for cell in cells}
    assert reasons["tiny", 2.0, "steps"] is None
    assert "evaluations, not 3" in (reasons["tiny", 0.0, "pairs"] or "")
    assert "no unconditional prediction" in (reasons["plain", 2.0, "steps"] or "")


@pytest.mark.parametrize("change", [{"solvers": ["stepz"]}, {"models": ["tinyy"]}, {"metrics": ["psrn"]}])
def test_unknown_names_suggest_the_right_one(suite, host, change):
    with pytest.raises(UsageError, match=r"did you mean '(steps|tiny|psnr)'"):
        make_plan(override(suite, **change), host)


def test_key_is_a_file_name_even_for_long_selectors(host):
    long = (
        "euler[grid=logsnr:-3.000000000000000000000000000000001:3.00000000000000000000000000000000000000000000000000000001]"
    )
    suite = Suite.parse({"name": "s", "nfe": [4], "solvers": [long], "models": ["tiny"]}, "x")
    key = make_plan(suite, host)[0].key
    assert len(key) < 150
    assert all(character.isalnum() or character in "._=+-" for character in key)


def test_a_later_parameter_is_part_of_a_key_only_once_it_is_set():
    """So that results from before it stay valid."""
    selection = PluginHost.load().solver("ab2[grid=quadratic]")
    before = replace(selection, spec=replace(selection.spec, parameters={"grid": "uniform"}))
    now = replace(before.spec, parameters={"grid": "uniform", "order": 2}, later=("order",))
    unset, same, other = (
        Component.of(replace(before, spec=now, parameters={"grid": "quadratic", "order": order})) for order in (2, 2.0, 3)
    )
    assert Component.of(before).content == unset.content == same.content
    assert other.parameters == {"grid": "quadratic", "order": 3}
    # Parameters of the first hour are always part of it.
    assert dict(Component.of(replace(before, spec=now, parameters=now.parameters)).parameters) == {"grid": "uniform"}


def test_an_edited_plugin_file_gets_other_keys(tmp_path):
    source = "from bnsbench.contract.hookspecs import hookimpl\nfrom bnsbench.contract.specs import SolverSpec\n"
    source += "@hookimpl\ndef bnsbench_solvers():\n    yield SolverSpec('mine', ':mine')\n"
    suite = Suite.parse({"name": "s", "nfe": [4], "solvers": ["mine"], "models": ["ring8"]}, "here")
    keys = []
    for edit in ("", "# edited\n"):
        (tmp_path / "mine.py").write_text(source + edit)
        keys.append(make_plan(suite, PluginHost.load([tmp_path / "mine.py"]))[0].key)
    assert keys[0] != keys[1]


def test_planning_and_reading_records_import_nothing_heavy():
    code = (
        "import sys; from pathlib import Path; from bnsbench.contract import PluginHost;"
        "from bnsbench.suite.run import RunOptions, plan_run; import bnsbench.suite.record, bnsbench.cli.run;"
        "plan_run(RunOptions('default', executor='processes'), PluginHost.load());"
        "print([name for name in ('torch', 'pandas', 'matplotlib', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def entries(*models, **changes):
    content = {"name": "s", "nfe": [4], "solvers": ["euler", "ab2"], "metrics": ["psnr"], "models": list(models), **changes}
    return make_plan(Suite.parse(content, "here"), PluginHost.load())


def test_entries_of_one_model_are_added_up():
    """The first of two was once left out without a word."""
    free, guided = (
        {"name": "digits-ot"},
        {"name": "digits-ot", "guidance": [0.0, 2.0], "solvers": ["euler"], "metrics": ["fid"]},
    )
    cells = entries(free, {"name": "ring8"}, guided)
    found = [(cell.model.name, cell.guidance, cell.solver.name, [metric.name for metric in cell.metrics]) for cell in cells]
    assert found == [
        ("digits-ot", 0.0, "euler", ["psnr", "fid"]),
        ("digits-ot", 0.0, "ab2", ["psnr"]),
        ("ring8", 0.0, "euler", ["psnr"]),
        ("ring8", 0.0, "ab2", ["psnr"]),
        ("digits-ot", 2.0, "euler", ["fid"]),
    ]


@pytest.mark.parametrize(("what", "value"), [("samples", 7), ("tolerance", 1e-3), ("dtype", "bfloat16")])
def test_entries_of_one_model_agree_in_what_a_comparison_needs(what, value):
    with pytest.raises(UsageError, match=f"names the model ring8 twice, with {what} .* and {value}"):
        entries({"name": "ring8"}, {"name": "builtin/ring8", what: value})
