"""A short version of ``python -m tests.survival fuzz``, and that it finds what it looks for."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import pytest

from tests.survival import fuzz
from tests.survival.fuzz_targets import TARGETS

SHARE = 0.028
LEFT_OUT = {"schedulers"}
"""Which loads all of diffusers first."""


@pytest.mark.parametrize("name", sorted(TARGETS.keys() - LEFT_OUT))
def test_no_input_ends_otherwise(name):
    counts, faults = fuzz.fuzz(TARGETS[name], round(SHARE * TARGETS[name].count), seed=1)
    assert faults == []
    assert counts["values"] + counts["sentences"] == counts["inputs"]


def test_a_whole_run_has_its_number_of_inputs():
    assert sum(target.count for target in TARGETS.values()) >= 100_000


def test_the_same_seed_gives_the_same_inputs():
    first, second = ([fuzz.input_of(target, 1, k) for target in TARGETS.values() for k in range(3)] for _ in range(2))
    assert first == second


def busy(file):
    end = time.process_time() + 60
    while time.process_time() < end:
        pass


READERS = {
    "unexpected": lambda file: 1 / 0,
    "hangs": busy,
    "memory": lambda file: len(bytearray(os.urandom(1) * (200 * 2**20))),
    "crashes": lambda file: os.kill(os.getpid(), signal.SIGSEGV),
}


@pytest.mark.parametrize("kind", READERS)
def test_what_it_looks_for_is_found(kind, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 0.3)
    usual = TARGETS["prompts"]

    def read(file):
        return READERS[kind](file) if file.read_bytes() == b"bad" else usual.read(file)

    target = replace(usual, read=read, mutate=lambda draw: b"bad" if draw.random() < 0.3 else b"a cat")
    counts, faults = fuzz.fuzz(target, 6, seed=3)
    assert counts[kind] == len(faults) > 0
    assert counts["values"] == 6 - len(faults)
