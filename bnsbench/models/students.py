"""The students that `bnsbench pretrain` distils from the embedded models, as a solver."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bnsbench.errors import NotApplicableError
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.flows.model import Model
from bnsbench.models.distillation import with_weights
from bnsbench.models.embedded import EmbeddedNetwork
from bnsbench.models.weights import WEIGHTS, read_manifest
from bnsbench.solvers.students import Student

FOLDER = "BNSBENCH_WEIGHTS"
"""The environment variable that names a folder of weights to look into besides; ./weights without it."""


def progressive_distillation(model: Model, guidance: float, nfe: int) -> Student:
    """Return the student of so many steps (Salimans & Ho 2022), each a step of DDIM, which on CondOT is one of Euler's rule.

    Args:
        model: Its teacher, to which nothing but the fingerprint has to be known.
        guidance: The scale w that it has learned.
        nfe: Its steps.

    Raises:
        NotApplicableError: If there is none.
    """
    for name, folder, record in _students(model.fingerprint()):
        if (record["guidance"], record["nfe"]) == (guidance, nfe) and isinstance(model, EmbeddedNetwork):
            chain = record["chain"]
            forwards = {purpose: chain[purpose] for purpose in ("teacher", "training")}
            return Student(with_weights(model, name, folder), forwards=forwards, images=chain["images"])
    scale = guidance_in_words(guidance)
    raise NotApplicableError(
        f"No student of {nfe} steps was distilled from this model at w = {scale}, or its weights are not here: "
        "`bnsbench pretrain` makes those of the embedded models, such as digits-ot-pd8, in ./weights."
    )


def _students(fingerprint: str) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Yield name, folder and training record of the students of a model with that fingerprint."""
    for folder in (WEIGHTS, Path(os.environ.get(FOLDER) or "weights")):
        for name, entry in read_manifest(folder).items():
            if entry["training"].get("model") == fingerprint:
                yield name, folder, entry["training"]
