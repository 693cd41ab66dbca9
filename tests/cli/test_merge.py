"""Shards on the command line, one of them killed in the middle, and their merge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from bnsbench.report.leaderboard import TIMINGS

TINY = Path(__file__).parent.parent / "suite" / "tiny_plugin.py"

SUITE = """
samples = 20
batch = 16
nfe = [2, 4]
solvers = ["steps", "pairs", "learned"]
models = [{ name = "tiny", tolerance = 1e-4, guidance = [0.0, 1.0] }, { name = "plain", tolerance = 1e-4 }]
"""


@pytest.fixture
def suite(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(SUITE)
    return file


@pytest.fixture
def run(bnsbench, suite):
    return lambda *arguments: bnsbench("run", suite, "--plugin", TINY, "--device", "cpu", "--executor", "local", *arguments)


def leaderboard(folder):
    return pd.read_csv(folder / "small" / "leaderboard.csv").drop(columns=list(TIMINGS)).to_csv()


def test_a_dry_run_of_a_shard_tells_its_own_cells_alone(run, tmp_path):
    whole = json.loads(run("--dry-run", "--json").out)
    parts = [json.loads(run("--dry-run", "--json", "--shard", f"{index}/2").out) for index in range(2)]
    assert sorted(cell["cell"] for part in parts for cell in part["cells"]) == sorted(
        cell["cell"] for cell in whole["cells"]
    )
    assert [part["left"] for part in parts] == [6, 12]
    assert sum(part["estimate"]["truth"] for part in parts) == whole["estimate"]["truth"]
    assert not (tmp_path / "runs").exists()


def test_shards_of_one_folder_write_its_leaderboard_when_the_last_has_ended(run, tmp_path):
    first = run("--shard", "0/2")
    assert (first.code, "psnr in dB by NFE" in first.out) == (0, False)
    assert "runs/small: 6 ok; 6 run now.\n12 cells of other shards are not here yet" in first.out
    assert not (tmp_path / "runs/small/leaderboard.csv").exists()
    last = run("--shard", "1/2")
    assert "runs/small: 12 ok; 12 run now.\n" in last.out
    assert "psnr in dB by NFE" in last.out
    assert len(pd.read_csv(tmp_path / "runs/small/leaderboard.csv")) == 18
    assert not (tmp_path / "runs/small/environments").exists(), "there was one environment"
    assert "18 ok; 0 run now" in run().out


def test_a_shard_that_has_nothing_to_do_says_so(run):
    idle = [run("--shard", f"{index}/40", "--dry-run") for index in range(30, 32)]
    assert all("0 cells to run, 0 skipped" in found.out for found in idle)
    done = run("--shard", "39/40")
    assert done.code == 0
    assert "runs/small: no cells; 0 run now.\n18 cells of other shards are not here yet" in done.out


def test_fresh_shards_leave_the_cells_of_others(run, tmp_path):
    run("--shard", "0/2")
    run("--shard", "1/2")
    before = {file.name: file.read_bytes() for file in (tmp_path / "runs/small/cells").iterdir()}
    done = run("--shard", "0/2", "--fresh")
    assert "6 ok; 6 run now" in done.out
    after = {file.name: file.read_bytes() for file in (tmp_path / "runs/small/cells").iterdir()}
    assert before.keys() == after.keys()
    assert sum(before[name] != after[name] for name in before) == 6


@pytest.mark.parametrize("shard", ["2/2", "1", "-1/2", "0/0"])
def test_what_is_no_shard_is_misuse(run, shard, tmp_path):
    done = run(f"--shard={shard}")
    assert done.code == 2
    assert "shard" in done.err
    assert not (tmp_path / "runs").exists()


def kill_in_training(suite, results, shard, cache):
    """Start a shard whose trainings take for ever, and kill it once it has its first record and is training."""
    words = [
        "run",
        suite,
        "--plugin",
        TINY,
        "--device",
        "cpu",
        "--executor",
        "local",
        "--shard",
        shard,
        "--results",
        results,
    ]
    environment = {**os.environ, "BNSBENCH_CACHE": str(cache), "TINY_TRAINING_SECONDS": "600"}
    command = [sys.executable, "-m", "bnsbench", *map(str, words)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list((results / "small/cells").glob("[!.]*.json"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return len(list((results / "small/cells").glob("[!.]*.json")))


def test_four_shards_with_one_killed_and_run_again_give_the_leaderboard_of_one_process(run, bnsbench, suite, tmp_path):
    assert run("--results", "one").code == 0
    folders = [tmp_path / f"machine-{index}" for index in range(4)]
    plans = [run("--dry-run", "--shard", f"{index}/4").out for index in range(4)]
    killed = next(index for index, plan in enumerate(plans) if "learned" in plan and "steps" in plan)
    assert kill_in_training(suite, folders[killed], f"{killed}/4", tmp_path / "cache") == 4
    for index in {*range(4)} - {killed}:
        assert run("--shard", f"{index}/4", "--results", folders[index]).code == 0
    assert "6 ok; 2 run now.\n" in run("--shard", f"{killed}/4", "--results", folders[killed]).out
    done = bnsbench("merge", *folders, "--output", "merged", "--plugin", TINY, "--quiet")
    assert (done.code, done.out, done.err) == (0, "merged/small: 18 of 18 cells; 0 failed.\n", "")
    assert leaderboard(tmp_path / "merged") == leaderboard(tmp_path / "one")
    names = [{file.name for file in (tmp_path / place / "small").iterdir()} for place in ("merged", "one")]
    assert names[0] == names[1] - {"timings.json"}
    for picture in ("psnr.png", "profile.png"):
        assert (tmp_path / "merged/small" / picture).read_bytes() == (tmp_path / "one/small" / picture).read_bytes()


def test_the_command_that_a_merge_prints_runs_what_is_missing(run, bnsbench, tmp_path):
    run("--shard", "0/2", "--results", "a")
    done = json.loads(bnsbench("merge", "a", "--output", "merged", "--plugin", TINY, "--json").out)
    assert {name: done[name] for name in ("cells", "missing", "failed", "environments")} == {
        "cells": 18,
        "missing": 12,
        "failed": 0,
        "environments": 1,
    }
    words = done["rest"].split()
    assert words[0] == "bnsbench"
    rest = bnsbench(*words[1:], "--plugin", TINY, "--device", "cpu", "--executor", "local")
    assert "merged/small: 18 ok; 12 run now." in rest.out
    assert bnsbench("merge", "merged", "--output", "merged", "--plugin", TINY).code == 0


def test_a_contradiction_is_one_sentence(run, bnsbench, tmp_path):
    for place in ("a", "b"):
        run("--results", place, "--model", "plain", "--solver", "steps", "--nfe", "4")
    file = next((tmp_path / "b/small/cells").iterdir())
    from dataclasses import replace

    from bnsbench.suite.record import format_record, read_record

    found = read_record(file)
    file.write_text(format_record(replace(found, nfe=5)))
    done = bnsbench("merge", "a", "b", "--output", "merged", "--plugin", TINY)
    assert done.code == 1
    assert f"a/small/cells/{file.name} and b/small/cells/{file.name} contradict each other" in done.err
    assert not (tmp_path / "merged").exists()
    assert bnsbench("merge", "a", "b", "--output", "merged", "--plugin", TINY, "--keep-first").code == 0


def test_a_suite_by_name_or_file_says_what_is_merged(run, bnsbench, suite, tmp_path):
    run("--results", "a", "--model", "plain")
    done = bnsbench("merge", "a", "--suite", suite, "--output", "merged", "--plugin", TINY)
    assert "merged/small: 6 of 18 cells" in done.out
    assert bnsbench("merge", "a", "--suite", "nowhere", "--output", "merged").code == 2
