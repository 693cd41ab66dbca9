"""Every kind of pipeline keeps bnsbench's contract of models."""

from __future__ import annotations

import pytest

from bnsbench.testing import check_model
from bnsbench_diffusers.testing import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_conformance(kind, tiny, prompts_file):
    settings = {"path": tiny(kind)}
    if any(tiny(kind).glob("tokenizer*")):
        settings["prompts"] = prompts_file
    if kind == "flux":  # by itself it would make images of 256 pixels
        settings["size"] = 16
    selector = ",".join(f"{name}={value}" for name, value in settings.items())
    faults = {fault.name: fault.finding for fault in check_model(f"diffusers[{selector}]").failures}
    faults.pop("wiring", None)  # these networks have random weights, and most are told to be no denoisers
    assert faults == {}
