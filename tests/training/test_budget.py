from __future__ import annotations

import pytest

from bnsbench.errors import UsageError
from bnsbench.training.budget import Budget


@pytest.mark.parametrize(
    ("given", "forwards", "seconds", "words"),
    [
        ("50k", 50_000, None, "50,000 forwards"),
        ("1.5M", 1_500_000, None, "1,500,000 forwards"),
        (" 800 ", 800, None, "800 forwards"),
        (20_000, 20_000, None, "20,000 forwards"),
        (2.5e4, 25_000, None, "25,000 forwards"),
        ("90s", None, 90, "1.5 min"),
        ("20min", None, 1200, "20 min"),
        ("20 min", None, 1200, "20 min"),
        ("2h", None, 7200, "2 h"),
        ("0.5h", None, 1800, "30 min"),
        ("45s", None, 45, "45 s"),
    ],
)
def test_what_a_user_says(given, forwards, seconds, words) -> None:
    budget = Budget.parse(given)
    assert (budget.forwards, budget.seconds, str(budget)) == (forwards, seconds, words)


@pytest.mark.parametrize(
    "given", ["", "k", "0", "0k", "-5k", "50K", "20m", "2 hours", "1e5", "50,000", "nan", "inf", True, None]
)
def test_what_is_no_budget_is_refused(given) -> None:
    with pytest.raises(UsageError, match=r"^A budget is a number of forwards such as 50k or 1\.5M, or a time .*\.$"):
        Budget.parse(given)


def test_a_part_is_of_the_same_kind_and_pace() -> None:
    assert Budget.parse("30k").part(1 / 3) == Budget(forwards=10_000)
    part = Budget(seconds=60.0, pace=0.25).part(0.5)
    assert (part.forwards, part.seconds, part.pace) == (None, 30.0, 0.25)
    assert Budget.parse("30k").key != Budget.parse("30001").key != Budget.parse("30s").key
