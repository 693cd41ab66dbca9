"""Streams of every encoding, and readers that stop reading: no command ends otherwise because of them."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bnsbench.cli import encoding
from bnsbench.contract import PluginHost
from bnsbench.report.matrix import TIE

RESULTS = Path(__file__).parents[2] / "results" / "learned"
HOSTILE = """
from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import MetricSpec

@hookimpl
def bnsbench_metrics():
    yield MetricSpec("größer", ":x", "Größer ≈ 世界 \\u2028 und \\x1b[31m.")
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {**os.environ, "BNSBENCH_PLUGINS": "", "BNSBENCH_CACHE": str(tmp_path_factory.mktemp("cache")), "NO_COLOR": "1"}


def run(words, environment, folder, **more):
    return subprocess.run(  # noqa: PLW1510 (the exit code is looked at)
        [sys.executable, "-m", "bnsbench", *map(str, words)], env={**environment, **more}, cwd=folder, capture_output=True
    )


COMMANDS = [
    ["leaderboard", RESULTS],
    ["leaderboard", RESULTS, "--format", "markdown", "--metric", "psnr"],
    ["leaderboard", RESULTS, "--view", "gain"],
    ["list", "metrics", "--plugin", "größer.py"],
    ["list", "größer", "--plugin", "größer.py"],
    ["list", "nothing-≈"],
    ["plugins", "--plugin", "größer.py"],
    ["compare", RESULTS, "weg-≈"],
    ["solver", "show", "größer", "--nfe", "4"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[:1] + [str(word) for word in words[2:]]))
def test_no_character_ends_a_command(environment, tmp_path, words):
    (tmp_path / "größer.py").write_text(HOSTILE, encoding="utf-8")
    usual = run(words, environment, tmp_path, PYTHONIOENCODING="utf-8")
    assert b"Unexpected" not in usual.stderr
    for name in ("ascii", "latin-1", "cp1252"):
        done = run(words, environment, tmp_path, PYTHONIOENCODING=name)
        assert done.returncode == usual.returncode
        assert b"Unexpected" not in done.stderr
        assert len(done.stdout.splitlines()) == len(usual.stdout.splitlines())
        done.stdout.decode("ascii" if name == "ascii" else name)
        if TIE.encode() in usual.stdout:
            assert b"~" in done.stdout


def test_streams_replace_what_they_lack(monkeypatch):
    for name, written in (("ascii", b"a ~ b ? ?"), ("cp1252", b"a ~ b \xf6 ?"), ("utf-8", "a ≈ b ö ?".encode())):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=name))
        encoding.make_streams_forgiving()
        sys.stdout.write("a ≈ b ö \ud800")
        sys.stdout.flush()
        assert raw.getvalue() == written


def test_what_cannot_be_read_stays_an_error():
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode("utf-8", encoding.REPLACING)


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="no SIGPIPE")
@pytest.mark.parametrize(
    "words",
    [
        *(["leaderboard", RESULTS, "--format", form] for form in ("table", "markdown", "csv", "latex", "json")),
        ["list", "solvers"],
        ["compare", RESULTS, RESULTS.parent / "default", "--json"],
        ["--help"],
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_a_reader_that_stops_ends_a_command_quietly(environment, tmp_path, words):
    """The reader is gone before anything is written, so that no buffer can take it."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(  # noqa: PLW1510
        [sys.executable, "-m", "bnsbench", *map(str, words)],
        env=environment,
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_a_pipe_of_our_own_that_breaks_is_an_error(bnsbench, monkeypatch):
    def load(*_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(PluginHost, "load", load)
    done = bnsbench("list", "models")
    assert done.code == 1
    assert done.err.startswith("bnsbench: Unexpected RuntimeError: a pipe to another process has closed;")


@pytest.mark.skipif(shutil.which("head") is None, reason="no head")
def test_the_first_line_of_a_leaderboard_is_its_title(environment, tmp_path):
    command = f"{sys.executable} -m bnsbench leaderboard {RESULTS} | head -1"
    done = subprocess.run(  # noqa: PLW1510
        ["bash", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "digits-gmm, w = 0: psnr in dB by NFE\n", "")


NOISY = """
import ctypes, os, sys, atexit
print("{import")
os.write(1, b"{import")
atexit.register(print, "{exit")
from bnsbench.plugin import SolverSpec, hookimpl

@hookimpl
def bnsbench_solvers():
    print("{hook")
    ctypes.CDLL(None).puts(b"{hook")
    yield SolverSpec("noisy", ":noisy", kind="direct")

def noisy(field, x0, nfe):
    print("{call")
    sys.__stdout__.write("{call")
    os.close(1)
    for k in range(nfe):
        x0 = x0 + field(x0.new_tensor(k / nfe), x0) / nfe
    return x0
"""


QUICK = ["--model=ring8", "--guidance=0", "--nfe=2", "--samples=4", "--metric=psnr", "--solver=euler,noisy"]


@pytest.mark.parametrize(
    "words",
    [
        ["list", "solvers", "--json"],
        ["plugins", "--json"],
        ["check", "noisy", "--json"],
        ["run", "quick", *QUICK, "--json"],
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_json_is_json_whatever_components_print(environment, tmp_path, words, unbuffered):
    (tmp_path / "noisy.py").write_text(NOISY)
    done = run([*words, "--plugin", "noisy.py"], environment, tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert json.loads(done.stdout)
    assert b"{import" in done.stderr
    assert b"Unexpected" not in done.stderr
