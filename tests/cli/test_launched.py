"""`train` started in several processes: the first one speaks and writes, the others end in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from bnsbench.cli.launched import _own_device, working_together
from bnsbench.errors import UsageError
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.process.ranks import team
from tests.teams import SIZE, free_port

pytestmark = pytest.mark.timeout(900)
"""Processes take long to start on a crowded machine."""

ROOT = Path(__file__).parents[2]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def launched(*words: str, cache: Path) -> list[Ended]:
    """Run a command in two processes, with the variables that torchrun sets."""
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(SIZE), "OMP_NUM_THREADS": "1"}
    told |= {"BNSBENCH_CACHE": str(cache), "BNSBENCH_PLUGINS": "", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "bnsbench", *words],
            env={**os.environ, **told, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(SIZE)
    ]
    ended = [(process, *process.communicate(timeout=500)) for process in processes]
    return [Ended(process.returncode, out, err) for process, out, err in ended]


def test_the_first_process_prints_and_saves(tmp_path: Path) -> None:
    file = tmp_path / "bns2.json"
    words = ["train", "ring8", "--nfe", "2", "--solver", "bns[pairs=16,iterations=1,init=euler]", "--device", "cpu"]
    first, second = launched(*words, "--output", str(file), cache=tmp_path / "cache")
    assert (first.code, second.code) == (0, 0)
    assert "network forwards" in first.out
    assert (second.out, second.err) == ("", "")
    assert SolverArtefact.load(file).solver.nfe == 2


def test_a_fault_of_all_is_told_once(tmp_path: Path) -> None:
    words = ["train", "nonesuch", "--nfe", "2", "--output", str(tmp_path / "a.json"), "--device", "cpu"]
    first, second = launched(*words, cache=tmp_path / "cache")
    assert (first.code, second.code) == (2, 2)
    assert first.err.count("There is no model 'nonesuch'") == 1
    assert (second.out, second.err) == ("", "")


@pytest.mark.parametrize("told", [{}, {"RANK": "0", "WORLD_SIZE": "2"}, {"WORLD_SIZE": "1"}])
def test_a_process_that_nobody_has_joined_works_by_itself(monkeypatch: pytest.MonkeyPatch, told: dict[str, str]) -> None:
    everything = {"RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"} if told == {"WORLD_SIZE": "1"} else {}
    for name, value in {**everything, **told}.items():
        monkeypatch.setenv(name, value)
    with working_together("auto") as device:
        assert device == "auto"
        assert team().size == 1


def test_a_variable_that_is_no_number_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "two", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="WORLD_SIZE is 'two' and no whole number"), working_together("cpu"):
        pass


@pytest.mark.parametrize(
    ("device", "rank", "sentence"),
    [("cuda:1", "0", "Each process has a GPU of its own"), ("cuda", "2", "This machine has 2 CUDA devices")],
)
def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch, device: str, rank: str, sentence: str) -> None:
    chosen: list[int] = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert _own_device("cuda") == "cuda:1"
    assert chosen == [1]
    monkeypatch.setenv("LOCAL_RANK", rank)
    with pytest.raises(UsageError, match=sentence):
        _own_device(device)
