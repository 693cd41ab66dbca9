"""Sampling a model with a solver, and the ground truth of the same noise to look at beside it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor

from bnsbench.api.named import (
    AnySolver,
    FoundSolver,
    NamedModel,
    find_solver,
    named_model,
    open_host,
    scale_of,
    whole,
)
from bnsbench.api.scope import remark_on
from bnsbench.errors import DivergedError, UsageError
from bnsbench.flows.model import Model, ModelField
from bnsbench.solvers.samplers import run_metered
from bnsbench.truth.ground_truth import solve
from bnsbench.truth.pairs import PairSource

BATCH = 64
"""Samples that go through the network together."""

TRUTH_TOLERANCE = 1e-5
"""Of the ground truth to look at, which is solved for these samples only."""


def sample(
    model: str | Model,
    solver: AnySolver,
    nfe: int | None = None,
    *,
    count: int = 16,
    guidance: float = 0.0,
    texts: str | Sequence[str] = (),
    condition: Tensor | None = None,
    seed: int = 0,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    strict: bool = False,
    plugins: Sequence[FilePath | str] = (),
) -> Tensor:
    """Sample a model with a solver; the same seed gives the same noise to every solver.

    Args:
        model: A selector such as "digits-ot", or a model of your own (see `wrap`).
        solver: A selector such as "unipc", the file of a trained solver, what `train` returned, or a table.
        nfe: Evaluations to spend; a file or table knows its own.
        count: How many samples.
        guidance: The scale w of u_w = (1 + w) u_cond - w u_uncond.
        texts: What to make, in words, one text or several that take turns, for models that understand them.
        condition: The conditions [count, ...] themselves; the model's own choice if neither is given.
        seed: Of the noise.
        device: "auto", "cpu", "cuda" or "cuda:<i>".
        dtype: Precision of the network; None for the model's own.
        strict: Whether to refuse a trained solver that is used elsewhere than where it was trained (other weights, guidance,
            shape, precision, quantisation or adapters), which is a warning otherwise.
        plugins: Single plugin files to load.

    Returns:
        The decoded samples [count, ...], such as images in [-1, 1].

    Raises:
        UsageError: For an unknown name, a solver for another path, one that has to be trained first, or if strict one that
            was trained elsewhere.
        NotApplicableError: For a classic that the path does not allow, or guidance of a model without it.
        DivergedError: If the samples leave the finite numbers.
    """
    host, count, scale = open_host(plugins), whole("count", count), scale_of(guidance)
    named = named_model(host, model, device, dtype)
    found = find_solver(host, solver, None if nfe is None else whole("nfe", nfe), named.setting, named, scale)
    if remark := remark_on(found, named, scale, strict):
        warnings.warn(remark, stacklevel=2)
    if texts and condition is not None:
        raise UsageError("Give texts or condition, not both.")
    if texts:
        condition = conditions_of(named.model, [texts] if isinstance(texts, str) else texts, count)
    if condition is not None and len(condition) != count:
        raise UsageError(f"condition is for {len(condition)} samples, not for count={count}.")
    drawn = draw(named, found, count, guidance=scale, seed=seed, condition=condition)
    with torch.no_grad():
        return named.model.decode(drawn.states)


@dataclass(frozen=True)
class Drawn:
    """Samples of one solver: end states [count, *shape], the noise that they began with, and the NFE spent on each.

    tolerance: of the ground truth to look at beside them.
    """

    states: Tensor
    initial: Tensor
    field: ModelField
    nfe: int
    tolerance: float

    def truth(self) -> Tensor:
        """Return the ground truth of the same noise [count, *shape]."""
        return solve(self.field, self.initial, self.tolerance)[0]


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
    source = PairSource(
        model=model.model,
        name=model.name,
        guidance=guidance,
        seed=seed,
        tolerance=TRUTH_TOLERANCE,
        device=model.device,
    )
    indices = torch.arange(count)
    velocity = source.field(indices) if condition is None else model.model.field(condition.to(model.device), guidance)
    x0 = source.initial("test", indices)
    states, spent = run_metered(solver.sampler, solver.field(velocity), x0, solver.nfe, BATCH)
    if not bool(states.isfinite().all()):
        raise DivergedError(f"The samples of {solver.name!r} at {spent} NFE left the finite numbers.")
    return Drawn(states, x0, velocity, spent, source.truth_tolerance)


def conditions_of(model: Model, texts: Sequence[str], count: int, **details: Any) -> Tensor:
    """Return the conditions [count, ...] of texts that take turns; UsageError for what the model does not understand.

    details: what else the model wants to be told, such as the number of a voice.
    """
    conditions = torch.stack([model.describe(text, **details) for text in texts])
    return conditions[torch.arange(count) % len(texts)]
