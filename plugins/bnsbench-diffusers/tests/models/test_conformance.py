"""Every kind of pipeline keeps bnsbench's contract of models."""

from __future__ import annotations

import pytest

from bnsbench.testing import check_model
from bnsbench_diffusers.testing import KINDS, SMALLEST


@pytest.mark.parametrize("kind", KINDS)
def test_conformance(kind, tiny, prompts_file):
    settings = {"path": tiny(kind), **SMALLEST.get(kind, {})}
    if any(tiny(kind).glob("tokenizer*")):
        settings["prompts"] = prompts_file
    selector = ",".join(f"{name}={value}" for name, value in settings.items())
    faults = {fault.name: fault.finding for fault in check_model(f"diffusers[{selector}]").failures}
    faults.pop("wiring", None)  # these networks have random weights, and most are told to be no denoisers
    assert faults == {}
