"""The checks of solvers: each finds its own fault and nothing else, and built-in solvers pass all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bnsbench.contract import PluginHost
from bnsbench.flows.paths import VP, CondOT
from bnsbench.solvers.specs import SOLVERS
from bnsbench.testing import ConformanceError, check_solver
from bnsbench.testing.problems import quantile_case
from bnsbench.testing.subjects import SETTINGS

FAULTY = Path(__file__).parent / "faulty_solvers.py"

FAULTS = {
    "summary": ("summary", "Its summary 'nothing' is no such sentence."),
    "no-summary": ("summary", "Its record has no summary."),
    "version": ("version", "Its record has no version."),
    "target": ("target", "could not be loaded"),
    "not-callable": ("target", "cannot be called"),
    "parameters": ("parameters", "unexpected keyword argument 'grid'"),
    "defaults": ("parameters", "The record says shift=1.0, its target has shift=0.0."),
    "raises": ("runs", "It raised ValueError: not today (faulty_solvers.py"),
    "reshapes": ("runs", "For states [6, 1, 2, 2] it returns [2, 1, 2, 2]."),
    "nan": ("runs", "not finite on the condot path"),
    "endless": ("runs", "no end"),
    "overspends": ("budget", "It overspends: asked for 1 evaluations, it used 2."),
    "underspends": ("budget", "It underspends: asked for 2 evaluations, it used 1."),
    "interval": ("interval", "outside of its interval [0.1, 0.9]"),
    "deterministic": ("deterministic", "Two runs on the same input differ."),
    "batch-split": ("batch split", "In smaller batches the same samples differ by"),
    "input": ("input", "It overwrites its input x0."),
    "moves-state": ("random state", "It moves the global random state of torch."),
    "needs-state": ("random state", "Its results depend on the global random state."),
    "precision": ("precision", "States in torch.float32 become torch.float64."),
    "order": ("order", "not with 2 as it declares"),
    "table": ("table", "it clips, thresholds or shifts"),
    "learned-nfe": ("budget", "Asked for 4 evaluations, it trains a table of 5."),
    "learned-origin": ("origin", "Its artefact says fingerprint 'another'"),
    "learned-finite": ("finite", "The states of its table are not finite."),
    "learned-unsteady": ("deterministic", "Two runs on the same input differ."),
    "learned-state": ("random state", "It moves the global random state of torch."),
    "learned-file": ("file", "its name is no text"),
}


@pytest.fixture(scope="module")
def host():
    return PluginHost.load([FAULTY])


@pytest.fixture
def report(host, in_this_process):
    return lambda name: check_solver(name, host=host)


@pytest.mark.parametrize("solver", FAULTS)
def test_each_fault_is_found_by_its_check_alone(report, solver):
    name, said = FAULTS[solver]
    found = report(solver)
    [fault] = found.failures
    assert fault.name == name
    assert said in fault.finding
    assert fault.remedy.endswith(".")
    assert not found.passed


def test_learned_state_depends_on_the_seed_alone(report):
    """Two trainings in one process differ as well, but that is the fault of the random state."""
    assert [fault.name for fault in report("learned-state").failures] == ["random state"]


@pytest.mark.parametrize("solver", ["sound", "sound-pairs", "learned", "order-by-choice", "one-path"])
def test_sound_solvers_pass(report, solver):
    found = report(solver)
    assert found.failures == ()
    assert {result.status for result in found.results} == {"passed"}
    found.raise_if_failed()


@pytest.mark.parametrize(
    ("solver", "name", "said"),
    [
        ("sound-direct", "table", "It is declared direct, but it has a table of coefficients."),
        ("undeclared", "parameters", "The keyword 'shift' is not declared, so nobody can set it."),
        ("order-by-choice[stage=0.25]", "order", "not with 2 as it declares"),
    ],
)
def test_hints_are_no_faults(report, solver, name, said):
    found = report(solver)
    assert found.passed
    [hint] = [result for result in found.results if result.status == "hint"]
    assert (hint.name, bool(hint.remedy)) == (name, True)
    assert said in hint.finding


def test_an_order_that_is_not_declared_is_measured(report):
    [order] = [result for result in report("no-order").results if result.name == "order"]
    assert (order.status, order.finding) == ("not applicable", "It declares no order; measured 1.00.")


def test_after_a_gate_nothing_is_said(report):
    found = report("raises")
    late = [result for result in found.results if result.name == "budget"]
    assert [result.status for result in late] == ["not applicable"]


def test_faults_raise_with_what_to_do(report):
    with pytest.raises(ConformanceError, match=r"'overspends' fails 1 checks. \[budget\] It overspends.*Call the field"):
        report("overspends").raise_if_failed()


@pytest.mark.parametrize("spec", SOLVERS, ids=lambda spec: spec.name)
def test_built_in_solvers_pass(report, spec):
    found = report(spec.name)
    assert {result.status for result in found.results} == {"passed"}


@pytest.mark.parametrize("solver", ["bns[pairs=16,iterations=2]", "bst[pairs=16,iterations=2]"])
def test_built_in_trainers_pass(report, solver):
    assert {result.status for result in report(solver).results} == {"passed"}


@pytest.mark.parametrize(("path", "interval"), [*SETTINGS, (VP(), (0.2, 0.999)), (CondOT(), (0.0, 1.0))], ids=str)
def test_the_flow_in_closed_form_is_the_field_s(path, interval):
    """Against SciPy's DOP853, which knows nothing of quantiles."""
    from scipy.integrate import solve_ivp

    case, x1 = quantile_case(path, interval)

    def velocity(t, x):
        return case.field(torch.tensor(t, dtype=torch.float64), torch.from_numpy(x)[:, None]).flatten().numpy()

    start = case.x0.flatten().numpy()
    solved = solve_ivp(velocity, interval, start, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    assert abs(solved - x1.flatten().numpy()).max() < 1e-11
