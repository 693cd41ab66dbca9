"""Nothing that others have written reaches a terminal as anything but text, from wherever it comes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bnsbench.suite.record import format_record, read_record
from tests.security.ways import results

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\x08\x7f"
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[hl]|\x1b\[[0-9]*[AK]|\r")
"""What rich sends for colours, bold text and lines that it draws again."""

PLUGIN = f"""
import logging
from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import *

TEXT = {HOSTILE!r}

@hookimpl
def bnsbench_metrics():
    yield MetricSpec("shouting", ":make", TEXT, unit=TEXT)
    yield MetricSpec("fine", ":other", "Fine.")
    yield MetricSpec(TEXT, ":make")

@hookimpl
def bnsbench_cell_finished(record):
    raise ValueError(TEXT)

def make():
    def measure(samples):
        samples.progress(TEXT)
        print(TEXT)
        logging.getLogger("x").warning(TEXT)
        raise ValueError(TEXT)
    return measure

def other():
    from bnsbench.plugin import MetricValue
    return lambda samples: MetricValue(1.0, info={{TEXT: TEXT}})
"""


def on_a_terminal(folder: Path, *words: object, columns: int = 100) -> str:
    """Return what a command writes to a terminal, stdout and stderr together."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "BNSBENCH_PLUGINS": "acme", "COLUMNS": str(columns), "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-m", "bnsbench", *map(str, words)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    content = b""
    try:
        while part := os.read(ours, 65536):
            content += part
    except OSError:  # Linux tells so that the other end is closed
        pass
    process.wait(60)
    os.close(ours)
    return content.decode("utf-8", "replace")


def controls(text: str) -> list[str]:
    """Return what is left of control characters when those of our own are taken away."""
    return re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", OURS.sub("", text.replace("\r\n", "\n")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a hostile plugin, and results, a suite and a solver file whose texts are hostile."""
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "acme.py").write_text(PLUGIN)
    store = results(folder)
    for file in (store / "cells").glob("*.json"):
        record = read_record(file)
        named = {
            part: {**record.cell[part], "name": f"{record.cell[part]['name']}{HOSTILE}"} for part in ("solver", "model")
        }
        file.write_text(format_record(replace(record, cell={**record.cell, **named})))
    solver = {"schema": 2, "name": HOSTILE, "model": HOSTILE, "fingerprint": HOSTILE, "guidance": 0.0, "interval": [0, 1]}
    table = {"times": [0, 1], "a": [1], "b": [[1]]}
    training = {"rule": HOSTILE, "grid": HOSTILE, "stopped": HOSTILE, "start": {"name": HOSTILE}, "family": HOSTILE}
    solver |= {"path": {"name": "condot"}, "solver": table, "training": {**training, "forwards": {HOSTILE: 1}}}
    (folder / "solver.json").write_text(json.dumps(solver))
    (folder / "bad.json").write_text(json.dumps({**solver, "path": {"name": HOSTILE}}))
    (folder / "keys.toml").write_text(f"{json.dumps(HOSTILE)} = 1\n")
    (folder / "names.toml").write_text(f"nfe = [1]\nsolvers = [{json.dumps(HOSTILE)}]\nmodels = ['ring8']\n")
    suite = 'nfe = [1]\nsamples = 2\nsolvers = ["euler"]\nmetrics = ["acme/shouting", "acme/fine"]\n'
    (folder / "run.toml").write_text(f'{suite}[[models]]\nname = "ring8"\ntolerance = 1e-2\n')
    return folder


COMMANDS = [
    "run run.toml --plugin acme.py --executor local",
    "run run.toml --plugin acme.py --executor processes --fresh",
    "run run.toml --plugin acme.py --executor local --quiet --fresh",
    "run run.toml --plugin acme.py --dry-run",
    "run keys.toml",
    "run names.toml",
    "list metrics --plugin acme.py",
    "list shouting --plugin acme.py",
    "plugins --plugin acme.py",
    "doctor --plugin acme.py",
    "leaderboard s",
    "leaderboard s --format csv",
    "leaderboard s --format markdown",
    "leaderboard s --format latex",
    "leaderboard s --format json",
    "compare s s",
    "verify s --cells 0",
    "solver show solver.json",
    "solver show bad.json",
    "sample ring8 --solver solver.json --count 2 --output out",
    "--debug solver show bad.json",
]


@pytest.mark.parametrize("line", COMMANDS)
def test_no_sequence_of_others_reaches_a_terminal(folder, line):
    written = on_a_terminal(folder, *line.split())
    assert "Unexpected" not in written
    assert controls(written) == []


@pytest.mark.parametrize("columns", [100, 30])
def test_it_is_shown_as_text_and_our_colours_stay(folder, columns):
    written = on_a_terminal(folder, "leaderboard", "s", columns=columns)
    assert "\x1b[1m" in written
    assert "\\x1b]0;owned\\x07" in re.sub(r"\s|\x1b\[[0-9;]*m", "", written)


def test_names_on_the_command_line_are_shown_as_text(tmp_path):
    for words in (
        ["leaderboard", f"x{HOSTILE}"],
        ["solver", "show", HOSTILE],
        [HOSTILE],
        ["run", f"--{HOSTILE}"],
        ["list", HOSTILE],
    ):
        written = on_a_terminal(tmp_path, *words)
        assert "Unexpected" not in written
        assert controls(written) == []
