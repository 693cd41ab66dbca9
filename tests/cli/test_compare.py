"""What ``bnsbench compare`` prints: counts first, what has to be known, and then the rows that say something."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bnsbench.cli.compare import MOST_ONE_SIDED, _print
from bnsbench.report.compare import COLUMNS

RESULTS = Path(__file__).parents[2] / "results"


def frame(*verdicts):
    rows = [{"model": "ring8", "solver": f"s{k}", "nfe": 4, "verdict": verdict} for k, verdict in enumerate(verdicts)]
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    metrics: list[Any] = [None if verdict.startswith("only") else "psnr" for verdict in verdicts]
    return found.assign(metric=metrics)


def test_counts_come_first_and_remarks_next(capsys):
    _print(frame("better", "only in A", "better"), "A remark.")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["2 better, 1 only in A; each interval has 95 % by itself.", "A remark.", ""]
    assert [line.split()[1] for line in lines[4:]] == ["s0", "s1", "s2"]


@pytest.mark.parametrize("more", [0, 1])
def test_many_cells_of_one_side_are_only_counted(capsys, more):
    count = MOST_ONE_SIDED + more
    _print(frame("worse", *["only in B"] * count), "")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"1 worse, {count} only in B; each interval has 95 % by itself."
    assert ("The cells that only one of them has are not listed; --json lists them." in lines) == bool(more)
    assert sum("only in B" in line for line in lines[1:]) == (0 if more else count)


def test_nothing_but_one_sided_cells_leaves_no_table(capsys):
    _print(frame(*["only in A"] * (MOST_ONE_SIDED + 1)), "")
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_json_reaches_the_standard_output_of_a_process(tmp_path):
    """Where a command prints JSON, all else goes to stderr."""
    sides = [str(RESULTS / name) for name in ("learned", "learned")]
    words = [sys.executable, "-m", "bnsbench", "compare", *sides, "--json"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(done.stdout) == []
