"""Every kind of pipeline keeps bnsbench's contract of models."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bnsbench.testing import check_model
from bnsbench_diffusers.testing import KINDS, SMALLEST

PROGRAM = """
import json, sys
from bnsbench_diffusers.models.registry import diffusers_model

found = {kind: diffusers_model(**settings).fingerprint() for kind, settings in json.load(sys.stdin).items()}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def settings(tiny, prompts_file):
    """The model's parameters for each kind."""

    def of(kind):
        reads = any(tiny(kind).glob("tokenizer*"))
        return {"path": str(tiny(kind)), **SMALLEST.get(kind, {}), **({"prompts": str(prompts_file)} if reads else {})}

    return {kind: of(kind) for kind in KINDS}


@pytest.fixture(scope="module")
def elsewhere(settings):
    """The fingerprints that one process of its own finds for all kinds, in which their libraries are imported once."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(settings), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def faults_of(settings, elsewhere=None):
    selector = ",".join(f"{name}={value}" for name, value in settings.items())
    return {fault.name: fault.finding for fault in check_model(f"diffusers[{selector}]", elsewhere=elsewhere).failures}


@pytest.mark.parametrize("kind", KINDS)
def test_conformance(kind, settings, elsewhere):
    faults = faults_of(settings[kind], elsewhere[kind])
    faults.pop("wiring", None)  # these networks have random weights, and most are told to be no denoisers
    assert faults == {}


def test_conformance_in_a_process_of_its_own(settings):
    """As users have it: listing the plugin imports nothing heavy, and the fingerprint is the same there."""
    assert set(faults_of(settings["ddpm"])) <= {"wiring"}
