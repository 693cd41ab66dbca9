from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bnsbench
from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, NotApplicableError
from bnsbench.flows.paths import CondOT
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.solvers.runge_kutta import euler
from bnsbench.solvers.samplers import run_metered, sampler_of
from bnsbench.solvers.students import student_of

PLUGIN = Path(__file__).with_name("student_plugin.py")


@pytest.fixture(scope="module")
def host():
    return PluginHost.load([PLUGIN])


def test_a_student_that_has_learned_everything_is_the_guided_teacher_for_half_the_forwards(host):
    model = digits_gmm()
    student = student_of(host.solver("perfect"), model, 2.0, 4)
    condition = model.conditions(torch.arange(6))
    x0 = torch.randn(6, *model.shape, dtype=model.dtype)
    field = student.field(model.field(condition, 2.0))
    states, nfe = run_metered(student.sampler(4), field, x0, 4, batch=4)
    torch.testing.assert_close(states, euler(model.field(condition, 2.0), x0, 4))
    assert (nfe, field.forwards_per_evaluation) == (4, 1)
    assert student.parameters == 0  # it names no networks


@pytest.mark.parametrize(
    ("name", "nfe", "error"),
    [
        ("dull", 4, "it returned a str instead of a Student"),
        ("costless", 2, "it returned too small a number as the samples of its training"),
        ("perfect", 3, "it has no such student"),
        ("misshapen", 4, r"it returned a student of shape \(2, 2\), not \(1, 8, 8\)"),
    ],
)
def test_what_is_no_student_is_refused(host, name, nfe, error):
    with pytest.raises(BnsbenchError, match=error):
        student_of(host.solver(name), digits_gmm(), 0.0, nfe)


def test_a_student_has_no_table(host):
    with pytest.raises(NotApplicableError, match="'perfect' is a network of its own for each model, and has no table"):
        sampler_of(host.solver("perfect"), 4, CondOT(), (0.0, 1.0))


def test_students_are_compared_and_sampled_like_other_solvers():
    """Euler's rule on the guided field and on the student that has learned the guidance give the same samples."""
    found = bnsbench.compare(
        "digits-gmm", ["euler", "perfect", "overspends"], [3, 4], guidance=2.0, samples=8, plugins=[PLUGIN], device="cpu"
    ).set_index(["solver", "nfe"])
    assert found.loc[("perfect", 4), "psnr"] == pytest.approx(found.loc[("euler", 4), "psnr"], abs=1e-6)
    assert list(found.loc[("perfect", 4), ["forwards", "train_forwards"]]) == [4, 900]
    assert found.loc[("euler", 4), "forwards"] == 8
    assert found.loc[("perfect", 3), "status"] == "skipped"
    assert found.loc[("perfect", 3), "reason"] == "it has no such student"
    drawn = bnsbench.sample("digits-gmm", "perfect", 4, count=2, guidance=2.0, plugins=[PLUGIN], device="cpu")
    other = bnsbench.sample("digits-gmm", "euler", 4, count=2, guidance=2.0, device="cpu")
    torch.testing.assert_close(drawn, other)
