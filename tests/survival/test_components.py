"""A few faulty components beside sound ones, with both executors; ``python -m tests.survival components`` tries them all."""

from __future__ import annotations

import pytest

from tests.survival.components import LEADERBOARD, VERIFY, Findings, Place, catalogue, try_out

TYPICAL = (
    *("s-call-base-exception", "s-call-surrogate", "s-call-exit-0", "s-call-close-1", "s-call-descriptor", "s-call-folder"),
    *("s-call-fork", "s-write-weights", "s-return-complex", "t-return-forwards-text", "t-call-silent", "q-make-system-exit"),
    *("q-return-of-text", "q-return-samples-few", "q-write-truth-latents", "q-call-half", "m-predicts-a-row-less"),
    *("m-make-base-exception",),
)


def test_the_catalogue_is_large():
    faults = catalogue()
    assert len(faults) >= 200
    assert len({fault.component for fault in faults}) == len(faults)
    assert {fault.kind for fault in faults} == {"solver", "trainer", "metric", "model"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("survival"))


@pytest.mark.parametrize(("executor", "commands"), [("local", [LEADERBOARD]), ("processes", [VERIFY])])
def test_typical_faults_take_nothing_down(place, executor, commands):
    chosen = [fault for fault in catalogue() if fault.component in TYPICAL]
    assert len(chosen) == len(TYPICAL)
    findings = Findings()
    try_out(place, chosen, executor, findings, commands=commands)
    assert findings.wrong == {}
