"""A sample of the matrix of imported schedulers; ``matrix.py`` runs all of it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from . import matrix
from .matrix import Case, cases, verdict

SAMPLED = 60

CASES = [cases()[i] for i in sorted(np.random.default_rng(20261126).choice(len(cases()), SAMPLED, replace=False))]


found = cache(verdict)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_table_is_the_scheduler_or_there_is_none(case):
    kind, words = found(case)
    assert kind in {"agrees", "refused"}, words


@pytest.mark.parametrize("noise", ["linear", "zero_terminal"])
def test_a_scheduler_whose_only_step_goes_nowhere_is_refused(noise):
    """With one step, EDM's levels are the largest one twice where the last is not to be zero."""
    kind, words = verdict(Case("EDMEuler", 1, ("final_sigmas_type=sigma_min",), noise, "epsilon"))
    assert (kind, "at which it began" in words) == ("refused", True)
    assert verdict(Case("EDMEuler", 1, ("final_sigmas_type=zero",), noise, "epsilon"))[0] == "agrees"
    assert verdict(Case("EDMEuler", 2, ("final_sigmas_type=sigma_min",), noise, "epsilon"))[0] == "agrees"


def test_most_of_the_sample_agrees():
    assert sum(found(case)[0] == "agrees" for case in CASES) > SAMPLED / 2


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_matrix_finds_a_wrong_table(prediction, monkeypatch):
    """One that is off by a part in 10^5."""
    right = matrix.table
    monkeypatch.setattr(matrix, "table", lambda *given: type(right(*given))(
        right(*given).times, right(*given).a * (1 + 1e-5), right(*given).b
    ))  # fmt: skip
    assert verdict(Case("DDIM", 5, (), "linear", prediction))[0] == "DISAGREES"
