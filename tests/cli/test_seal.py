"""``bnsbench seal`` and ``bnsbench verify --seal``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

TINY = Path(__file__).parents[1] / "suite" / "tiny_plugin.py"


@pytest.fixture
def results(bnsbench, tmp_path):
    file = tmp_path / "small.toml"
    file.write_text('samples = 20\nnfe = [2, 4]\nsolvers = ["steps"]\nmodels = [{ name = "tiny", tolerance = 1e-4 }]\n')
    bnsbench("run", file, "--plugin", TINY, "--device", "cpu")
    return tmp_path / "runs" / "small"


@pytest.fixture
def verify(bnsbench):
    return lambda *words: bnsbench("verify", "runs/small", "--plugin", TINY, "--device", "cpu", "--quiet", *words)


def test_it_prints_the_digest_and_verify_checks_it(results, bnsbench, verify):
    done = bnsbench("seal", "runs/small")
    digest = hashlib.sha256((results / "SEAL").read_bytes()).hexdigest()
    assert (done.code, done.out, done.err) == (0, f"{digest}\n", "")
    assert verify("--seal", digest).code == 0
    told = json.loads(bnsbench("seal", "runs", "--json").out)
    assert told["digest"] == digest
    assert told["files"] == len((results / "SHA256SUMS").read_text().splitlines())


def test_another_digest_is_told_plainly(results, bnsbench, verify):
    bnsbench("seal", "runs/small")
    done = verify("--seal", "0" * 64)
    assert done.code == 1
    assert done.out.startswith("The seal does not fit: runs/small has the digest ")
    assert verify("--seal", "0" * 8).code == 2


def test_other_results_do_not_fit_though_they_are_intact(results, bnsbench, verify):
    digest = bnsbench("seal", "runs/small").out.strip()
    bnsbench("run", results.parents[1] / "small.toml", "--plugin", TINY, "--device", "cpu", "--seed", "1")
    done = verify("--seal", digest)
    assert done.code == 1
    assert "The seal does not fit" in done.out
    assert "is not the seal of the files as they are now" in done.out
    assert "is not the seal" in verify().out
    bnsbench("seal", "runs/small")
    assert verify().code == 0


def test_damaged_results_are_not_sealed(results, bnsbench):
    next((results / "cells").iterdir()).write_text("{}")
    done = bnsbench("seal", "runs/small")
    assert (done.code, done.out, "cannot be sealed" in done.err) == (1, "", True)
    assert not (results / "SEAL").exists()
