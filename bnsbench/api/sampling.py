"""Sampling a model with a solver, and the ground truth of the same noise to look at beside it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnsbench.api.named import AnySolver, FoundSolver, NamedModel, find_solver, named_model, open_host
from bnsbench.errors import DivergedError, UsageError
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.flows.measured import Meter
from bnsbench.flows.model import Model, ModelField
from bnsbench.truth.ground_truth import solve
from bnsbench.truth.pairs import PairSource

TRUTH_TOLERANCE = 1e-5
"""Of the ground truth to look at, which is solved for these samples only."""


def sample(
    model: str | Model,
    solver: AnySolver,
    nfe: int | None = None,
    *,
    count: int = 16,
    guidance: float = 0.0,
    texts: Sequence[str] = (),
    condition: Tensor | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    plugins: Sequence[Path | str] = (),
) -> Tensor:
    """Sample a model with a solver; the same seed gives the same noise to every solver.

    Args:
        model: A selector such as "digits-ot", or a model of your own (see `wrap`).
        solver: A selector such as "unipc", the file of a trained solver, what `train` returned, or a table.
        nfe: Evaluations to spend; a file or table knows its own.
        count: How many samples.
        guidance: The scale w of u_w = (1 + w) u_cond - w u_uncond.
        texts: What to make, in words, taking turns, for models that understand them.
        condition: The conditions [count, ...] themselves; the model's own choice if neither is given.
        seed: Of the noise.
        device: "auto", "cpu", "cuda" or "cuda:<i>".
        dtype: Precision of the network; None for the model's own.
        plugins: Single plugin files to load.

    Returns:
        The decoded samples [count, ...], such as images in [-1, 1].

    Raises:
        UsageError: For an unknown name, a solver for another path, or one that has to be trained first.
        DivergedError: If the samples leave the finite numbers.
    """
    host = open_host(plugins)
    named = named_model(host, model, device, dtype)
    found = find_solver(host, solver, nfe, named.setting, named, guidance)
    for remark in mismatches(found, named, guidance):
        warnings.warn(remark, stacklevel=2)
    if texts and condition is None:
        condition = conditions_of(named.model, texts, count)
    drawn = draw(named, found, count, guidance=guidance, seed=seed, condition=condition)
    with torch.no_grad():
        return named.model.decode(drawn.states)


@dataclass(frozen=True)
class Drawn:
    """Samples of one solver: end states [count, *shape], the noise that they began with, and the NFE spent on each."""

    states: Tensor
    initial: Tensor
    field: ModelField
    nfe: int

    def truth(self) -> Tensor:
        """Return the ground truth of the same noise [count, *shape]."""
        return solve(self.field, self.initial, TRUTH_TOLERANCE)[0]


def draw(
    model: NamedModel,
    solver: FoundSolver,
    count: int,
    *,
    guidance: float = 0.0,
    seed: int = 0,
    condition: Tensor | None = None,
) -> Drawn:
    """Return the first ``count`` samples of the test noise; DivergedError if they leave the finite numbers.

    condition: [count, ...] in place of the model's own conditions.
    """
    source = PairSource(model=model.model, name=model.name, guidance=guidance, seed=seed, device=model.device)
    indices = torch.arange(count)
    velocity = source.field(indices) if condition is None else model.model.field(condition.to(model.device), guidance)
    x0 = source.initial("test", indices)
    meter = Meter(velocity, x0)
    with torch.no_grad():
        states = solver.sampler(meter.field, x0.clone())
    meter.close()
    spent = meter.spent(solver.nfe)
    if not bool(states.isfinite().all()):
        raise DivergedError(f"The samples of {solver.name!r} at {spent} NFE left the finite numbers.")
    return Drawn(states, x0, velocity, spent)


def conditions_of(model: Model, texts: Sequence[str], count: int, **details: Any) -> Tensor:
    """Return the conditions [count, ...] of texts that take turns; UsageError for what the model does not understand.

    details: what else the model wants to be told, such as the number of a voice.
    """
    conditions = torch.stack([model.describe(text, **details) for text in texts])
    return conditions[torch.arange(count) % len(texts)]


def mismatches(solver: FoundSolver, model: NamedModel, guidance: float) -> Iterator[str]:
    """Yield in what a trained solver was made for something else; it still samples, if not as well.

    UsageError for one that was made for another path: its times would mean something else.
    """
    artefact = solver.artefact
    if artefact is None:
        return
    if artefact.path != model.model.path:
        raise UsageError(f"The solver was trained on the {artefact.path.name} path, which this model does not have.")
    if artefact.fingerprint != model.model.fingerprint():
        yield f"the solver was trained for other weights ({artefact.model})."
    served = artefact.guidance if isinstance(artefact.guidance, tuple) else (artefact.guidance,)
    if guidance not in served:
        yield f"the solver was trained at guidance {guidance_in_words(served)}, not {guidance:g}."
