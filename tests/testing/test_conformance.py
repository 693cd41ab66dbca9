"""Which component a name means, and the report."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from bnsbench.testing import Report, Result, check
from bnsbench.testing.conformance import find_kind
from bnsbench.testing.report import run_checks
from tests.contract.offers import HEADER, write

TWICE = f"""{HEADER}
@hookimpl
def bnsbench_metrics():
    yield MetricSpec("euler", "bnsbench.metrics.image:Psnr")
"""


def test_the_kind_is_found_from_the_name():
    host = PluginHost.load()
    assert [find_kind(name, host) for name in ("unipc[order=3]", "builtin/ring8", "psnr")] == ["solver", "model", "metric"]


def test_an_unknown_name():
    with pytest.raises(UsageError, match=r"There is no solver, model or metric 'eulr'; did you mean 'euler'\?"):
        find_kind("eulr", PluginHost.load())


def test_a_name_of_two_kinds(tmp_path):
    host = PluginHost.load([write(tmp_path, "twice", TWICE)])
    with pytest.raises(UsageError, match="'euler' is the name of a solver and of a metric; add --kind"):
        find_kind("euler", host)
    assert find_kind("twice/euler", host) == "metric"


@pytest.mark.usefixtures("in_this_process")
def test_a_file_can_be_given():
    file = Path(__file__).parents[2] / "plugins" / "examples" / "leapfrog_solver.py"
    found = check("leapfrog[grid=chebyshev]", plugins=[file])
    assert (found.kind, found.name, found.provider) == ("solver", "leapfrog[grid=chebyshev]", "leapfrog_solver")
    assert {result.status for result in found.results} == {"passed"}


def test_a_report_is_plain_data():
    report = Report("solver", "mine", "acme", (Result("passed", name="runs"), Result("failed", "Late.", "Hurry.", "budget")))
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    assert report.to_dict()["checks"][1] == {"status": "failed", "finding": "Late.", "remedy": "Hurry.", "name": "budget"}
    assert report.summary() == "solver mine of acme: 1 passed, 1 failed"
    assert not report.passed


def test_a_check_leaves_the_process_as_it_was(tmp_path):
    def untidy(subject):
        os.chdir(subject)
        torch.set_default_dtype(torch.float64)
        raise SystemExit(3)

    before = os.getcwd(), torch.get_default_dtype()  # noqa: PTH109
    (found,) = run_checks({"untidy": untidy}, tmp_path)
    assert (found.status, found.finding) == ("failed", "It raised SystemExit: 3 (test_conformance.py, line 63).")
    assert (os.getcwd(), torch.get_default_dtype()) == before  # noqa: PTH109
