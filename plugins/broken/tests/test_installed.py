"""With the faulty package really installed: its faults are listed, and runs get to their end around them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

FAULTY = {"broken-hooks", "broken-import", "broken-missing", "broken-records"}


def bnsbench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bnsbench", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def statuses(folder: Path) -> dict[str, str]:
    rows = csv.DictReader((folder / "runs/quick/leaderboard.csv").read_text().splitlines())
    return {row["solver"]: row["status"] for row in rows}


def test_the_package_is_installed() -> None:
    assert {point.name for point in entry_points(group="bnsbench")} >= FAULTY


def test_every_fault_is_listed(tmp_path: Path) -> None:
    listing = json.loads(bnsbench(tmp_path, "plugins", "--json").stdout)
    assert {problem["plugin"] for problem in listing["problems"]} == FAULTY


@pytest.mark.parametrize("solver", ["exiting", "crashing"])
def test_a_solver_that_ends_the_process_costs_one_cell(tmp_path: Path, solver: str) -> None:
    words = f"run quick --model sound --guidance 0 --solver builtin/euler,{solver} --nfe 4 --metric psnr --samples 8"
    done = bnsbench(tmp_path, *words.split(), "--executor", "processes", "--workers", "1")
    assert done.returncode == 1, done.stderr
    assert statuses(tmp_path) == {"euler": "ok", solver: "failed"}


def test_the_examples_run_beside_it(tmp_path: Path) -> None:
    examples = Path(__file__).parents[2] / "examples"
    plugins = [word for name in ("leapfrog_solver", "spiral_model") for word in ("--plugin", str(examples / f"{name}.py"))]
    words = "run quick --model spiral --guidance 0 --solver builtin/euler,leapfrog --nfe 4 --metric psnr --samples 8"
    done = bnsbench(tmp_path, *words.split(), *plugins)
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path) == {"euler": "ok", "leapfrog": "ok"}
