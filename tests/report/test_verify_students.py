"""Cells of distilled solvers are run again where their students are, and said to be unchecked where they are not."""

from __future__ import annotations

import pytest

from bnsbench.api.running import run_and_report
from bnsbench.contract import PluginHost
from bnsbench.models.pretrain import pretrain
from bnsbench.report.verify import verify
from bnsbench.suite.progress import RunListener
from bnsbench.suite.run import RunOptions
from bnsbench.suite.store import ResultStore

SUITE = """
samples = 16
batch = 16
nfe = [8, 16]
metrics = ["psnr"]
solvers = ["euler", "pd"]
models = [{ name = "digits-ot", guidance = [0.0] }]
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Results with a student of 16 steps that has learned for two steps, and none of 8."""
    monkeypatch.setattr("bnsbench.models.students.WEIGHTS", tmp_path / "none")
    monkeypatch.setenv("BNSBENCH_WEIGHTS", str(tmp_path / "weights"))
    pretrain("digits-ot-pd16", tmp_path / "weights", steps=2, measure=False, progress=False)
    (tmp_path / "small.toml").write_text(SUITE)
    host = PluginHost.load()
    run_and_report(RunOptions(str(tmp_path / "small.toml"), results=tmp_path, device="cpu"), host, RunListener())
    return ResultStore(tmp_path / "small"), host


def test_students_that_are_here_are_run_again_and_others_are_said_to_be_missing(run, monkeypatch):
    store, host = run
    found = verify(store, host, RunListener(), device="cpu", cells=None)
    assert (found.faults, found.unchecked, found.rerun) == ((), (), 4)  # one of them is that of 8 steps, which is skipped
    monkeypatch.delenv("BNSBENCH_WEIGHTS")
    found = verify(store, host, RunListener(), device="cpu", cells=None)
    assert (found.faults, found.rerun, found.exit_code) == ((), 3, 3)
    (sentence,) = found.unchecked
    assert sentence.startswith("1 cell is of students that are not here, such as digits-ot_w0_pd_nfe16_seed0-")
    assert "bnsbench pretrain" in sentence
