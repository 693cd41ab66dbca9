"""Checks of a model's declarations: its fingerprint, path, interval, modality and decoding."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import torch

from bnsbench.contract.specs import ModelSpec
from bnsbench.errors import BnsbenchError
from bnsbench.flows.model import Model
from bnsbench.flows.paths import path_from_dict
from bnsbench.flows.predictions import check_prediction
from bnsbench.testing.records import Subject
from bnsbench.testing.report import Check, Verdict, failed, not_applicable, passed
from bnsbench.truth.wiring import suspicion

HEXADECIMAL = re.compile(r"[0-9a-f]{8,}")
_DIMENSIONS = {"image": (4,), "video": (5,), "audio": (2, 3)}
"""Of decoded samples, batch included."""


def fingerprint(subject: Subject[ModelSpec]) -> Verdict:
    """Check that the fingerprint is hexadecimal and the same whenever and wherever the model is made."""
    first, second = (subject.selection.make().fingerprint() for _ in range(2))
    if not isinstance(first, str) or not HEXADECIMAL.fullmatch(first):
        return failed(f"Its fingerprint {first!r} is no hexadecimal hash.", "Return hashlib.sha256(...).hexdigest().")
    if "error" in subject.elsewhere:
        raise BnsbenchError(f"{subject.elsewhere['error']} in a process of its own")
    if first == second == subject.elsewhere["fingerprint"]:
        return passed()
    remedy = "Hash weights, parameters and path with hashlib, not with hash(), ids, times or random numbers."
    return failed("Its fingerprint changes from one making to the next.", remedy)


def declarations(subject: Subject[ModelSpec]) -> Verdict:
    """Check that path, prediction type, interval, shape and data range are valid."""
    model: Model = subject.selection.make()
    try:
        check_prediction(model.prediction)
    except BnsbenchError as error:
        return failed(str(error), "Name what `predict` returns.")
    begin, end = model.interval
    if not 0.0 <= begin < end <= 1.0:
        return failed(f"Its interval {model.interval} does not lie in [0, 1].", "Time runs from noise at 0 to data at 1.")
    if not model.shape or not all(isinstance(size, int) and size > 0 for size in model.shape):
        return failed(f"Its shape {model.shape!r} is no tuple of positive numbers.", "Give one sample's shape.")
    if not model.data_range > 0:
        return failed(f"Its data range is {model.data_range}.", "Give the peak-to-peak range of the data.")
    described = model.path.to_dict()
    if path_from_dict(json.loads(json.dumps(described))).to_dict() != described:
        return failed("Its path does not survive a file.", "Use a path of bnsbench.flows.paths.")
    return passed()


def wiring(subject: Subject[ModelSpec]) -> Verdict:
    """Check by evaluations alone that its predictions behave like those of its path and type."""
    if declarations(subject).status == "failed":
        return not_applicable("The check 'declarations' has failed.")
    found = suspicion(subject.selection.make())
    if found is None:
        return passed()
    remedy = "Look at the type of its prediction, its sign, the direction of time, the path and the data range."
    return failed(found, remedy)


def modality(subject: Subject[ModelSpec]) -> Verdict:
    """Check that decoded samples fit the modality, the declared one or that of a model with a sample rate."""
    model: Model = subject.selection.make()
    declared, count = model.modality(subject.spec.modality), 2
    with torch.no_grad():
        shape = list(model.decode(torch.zeros(count, *model.shape, dtype=model.dtype)).shape)
    if shape[0] != count:
        return failed(f"Decoding {count} states gives {shape[0]} samples.", "Keep the batch along the first axis.")
    if declared == "audio" and model.sample_rate is None:
        return failed("Its modality is 'audio' and its sample rate None.", "Give the sample rate in Hz.")
    colourless = declared in ("image", "video") and shape[1] not in (1, 3)
    if len(shape) not in _DIMENSIONS.get(declared, (len(shape),)) or colourless:
        remedy = (
            "Decode images to [batch, 1 or 3, height, width], videos to [batch, 1 or 3, frames, height, width] and audio to "
            "[batch, samples] or [batch, channels, samples], or declare what it is."
        )
        return failed(f"Its modality is {declared!r}, but decoded samples are shaped {shape}.", remedy)
    return passed()


DECLARATION_CHECKS: Mapping[str, Check[Subject[ModelSpec]]] = {
    "fingerprint": fingerprint,
    "declarations": declarations,
    "wiring": wiring,
    "modality": modality,
}
