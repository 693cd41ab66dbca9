"""Training and tuning solvers for one model: where pairs come from, and trainings that go on where they were interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from bnsbench.api.effort import effort_of
from bnsbench.api.named import NamedModel, check_budget, named_model, open_host, scales_of, whole
from bnsbench.contract import PluginHost, Selection
from bnsbench.contract.selectors import BEST_GRID, select, tuned
from bnsbench.contract.specs import Scalar, SolverSpec
from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.flows.model import Model
from bnsbench.flows.paths import check_readable
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.process.machine import cache_folder
from bnsbench.process.parts import Parts
from bnsbench.process.ranks import team
from bnsbench.storage.files import cache_errors, remove_leftovers
from bnsbench.storage.plain_data import digest
from bnsbench.training.budget import Budget
from bnsbench.training.listener import Listener
from bnsbench.training.problem import Effort, Problem, effort_in
from bnsbench.training.recipes.bns import FIRST_SHARE
from bnsbench.training.recipes.fitting import LADDER_SHARE
from bnsbench.training.trainer import make_problem, train_solver, with_options
from bnsbench.truth.mixed_source import MixedSource
from bnsbench.truth.pairs import PairSource, pairs_device
from bnsbench.truth.source import Source
from bnsbench.truth.wiring import told_once

TOLERANCE = 1e-6
"""Of ground truth, relative and absolute, unless asked otherwise."""


def train(
    model: str | Model,
    nfe: int,
    *,
    guidance: float | Sequence[float] = 0.0,
    solver: str = "bns",
    init: str | Path | None = None,
    objective: str | None = None,
    optimiser: str | None = None,
    derivative: str | None = None,
    pairs: int | None = None,
    iterations: int | None = None,
    weights: Sequence[float] = (),
    budget: str | float | None = None,
    gain: float | None = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    batch: int | None = None,
    plugins: Sequence[Path | str] = (),
    cache: Path | str | None = None,
    listener: Listener | None = None,
) -> SolverArtefact:
    """Train a solver for a frozen model; ``.save(file)`` keeps it, ``.solver(field, x0)`` samples with it.

    Ground truth is kept in the cache, so that a second training solves none of it again, and a training that was
    interrupted goes on where it was.

    Args:
        model: A selector such as "digits-ot", or a model of your own (see `wrap`).
        nfe: Evaluations of the guided field that the solver may spend.
        guidance: The scale w of u_w = (1 + w) u_cond - w u_uncond, or several that one solver shall serve.
        solver: Which trained solver: "bns", another family, or a selector with parameters.
        init: What to start from: a classic solver, the file of a trained one, or "greedy".
        objective: What is minimised, such as "log-mse" or "features"; `bnsbench list objectives` shows all.
        optimiser: "gauss-newton" or "adam".
        derivative: "backward", or "forward" or "difference" to spare memory; "auto", the default, is the first of them that
            works.
        pairs: Pairs of noise and truth to train on.
        iterations: Steps of the optimiser, at most.
        weights: How much each guidance scale counts, all the same if empty.
        budget: What the training may spend: forwards of the network, such as 50000, "50k" or "1.5M", or a time, such as
            "90s", "20min" or "2h". Ground truth, starts, validation and smaller tables that it begins with count. None for
            all that gains.
        gain: Decibels that 10,000 more forwards have to bring for the training to go on; None for its own measure.
        tolerance: Of the ground truth, between 0 and 1; a coarser one is cheaper.
        seed: Of every noise stream.
        device: "auto", "cpu", "cuda" or "cuda:<i>".
        dtype: Precision of the network; None for the model's own.
        batch: Samples that the network gets at once, at most; as many as fit into memory if None.
        plugins: Single plugin files to load.
        cache: Folder for ground truth and interrupted trainings; BNSBENCH_CACHE or the user's cache folder if None.
            Nothing is kept of a model that cannot be known again (see `wrap`).
        listener: Hears what is being done.

    Returns:
        The solver with its path, interval, guidance, the model's fingerprint and the record of its training.

    Raises:
        UsageError: For an unknown name, an NFE that the solver cannot spend, or a budget that is too little.
        NotApplicableError: For what the model or its path does not allow, such as guidance without a null condition.
        DivergedError: If the model's ground truth cannot be solved, or no table gives finite samples.
    """
    host = open_host(plugins)
    settings = {
        "init": None if init is None else str(init),
        "objective": objective,
        "optimiser": optimiser,
        "derivative": derivative,
        "pairs": pairs,
        "iterations": iterations,
    }
    selection = with_settings(trainable(host, solver), settings)
    named = named_model(host, model, device, dtype)
    return _made(host, selection, named, nfe, guidance, weights, tolerance, seed, cache, listener, batch, budget, gain)


def tune(
    model: str | Model,
    nfe: int,
    *,
    guidance: float | Sequence[float] = 0.0,
    solver: str = "tuned",
    tolerance: float = TOLERANCE,
    seed: int = 0,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    plugins: Sequence[Path | str] = (),
    cache: Path | str | None = None,
    listener: Listener | None = None,
) -> SolverArtefact:
    """Find the classic solver and time grid that suit a model best, which takes seconds to minutes.

    Args:
        model: A selector such as "digits-ot", or a model of your own (see `wrap`).
        nfe: Evaluations of the guided field that the solver may spend.
        guidance: The scale w of u_w = (1 + w) u_cond - w u_uncond, or several that one solver shall serve.
        solver: "tuned" for the best of all rules, or one classic rule, such as "ab3".
        tolerance: Of the ground truth, between 0 and 1.
        seed: Of every noise stream.
        device: "auto", "cpu", "cuda" or "cuda:<i>".
        dtype: Precision of the network; None for the model's own.
        plugins: Single plugin files to load.
        cache: Folder for ground truth; BNSBENCH_CACHE or the user's cache folder if None.
        listener: Hears what is being done.

    Returns:
        The table with its origin; ``.training`` holds the rule, the grid and what the search has cost.

    Raises:
        UsageError: For an unknown name, a solver without a grid, or a budget that it cannot spend.
        NotApplicableError: For what the model or its path does not allow, such as guidance without a null condition.
        DivergedError: If the model's ground truth cannot be solved.
    """
    host = open_host(plugins)
    selection, named = tunable(host, solver), named_model(host, model, device, dtype)
    return _made(host, selection, named, nfe, guidance, (), tolerance, seed, cache, listener)


def _made(
    host: PluginHost,
    selection: Selection[SolverSpec],
    model: NamedModel,
    nfe: int,
    guidance: float | Sequence[float],
    weights: Sequence[float],
    tolerance: float,
    seed: int,
    cache: Path | str | None,
    listener: Listener | None,
    batch: int | None = None,
    budget: str | float | None = None,
    gain: float | None = None,
) -> SolverArtefact:
    """Return the solver, and forget what an interrupted training would have gone on from."""
    nfe, weights = whole("nfe", nfe), [float(weight) for weight in weights]
    check_budget(selection, nfe)
    heard, folder = listener or Listener(), model.cache(None if cache is None else Path(cache))
    remove_leftovers(folder / "training")
    remove_leftovers(folder / "pairs")
    sources = sources_of(
        model, scales_of(guidance), seed=seed, tolerance=tolerance, cache=folder, listener=heard, batch=batch
    )
    scales, effort = tuple(scales_of(weights)) if weights else (), effort_of(selection, sources, budget, gain)
    trainings = Trainings(host, selection, combine(sources, weights), heard, scales, folder, effort)
    artefact = trainings.solver(nfe)
    trainings.forget()
    return artefact


def trainable(host: PluginHost, solver: str) -> Selection[SolverSpec]:
    """Return the trained or tuned solver that a selector means; UsageError for any other."""
    selection = host.solver(solver)
    if not selection.spec.trained:
        raise UsageError(f"The solver {selection.name!r} is not a trained one; use it by its name.")
    return selection


def tunable(host: PluginHost, solver: str) -> Selection[SolverSpec]:
    """Return the tuned solver that a selector means, or the best grid of the classic that it means."""
    selection = host.solver(solver)
    if selection.spec.kind == "traced" and "grid" in selection.parameters:
        return tuned(replace(selection, parameters={**selection.parameters, "grid": BEST_GRID}))
    if selection.spec.kind != "tuned":
        raise UsageError(f"The solver {selection.name!r} has no time grid to tune; choose 'tuned' or a classic with a grid.")
    return selection


def with_settings(selection: Selection[SolverSpec], settings: Mapping[str, Scalar | None]) -> Selection[SolverSpec]:
    """Return the selection with the settings that are not None; UsageError for one that the solver does not take."""
    given = {key: str(value) for key, value in settings.items() if value is not None}
    chosen = select(selection.spec, given).parameters
    return replace(selection, parameters={**selection.parameters, **{key: chosen[key] for key in given}})


def sources_of(
    model: NamedModel,
    scales: Sequence[float],
    *,
    seed: int = 0,
    tolerance: float = TOLERANCE,
    cache: Path | None = None,
    listener: Listener | None = None,
    batch: int | None = None,
) -> list[PairSource]:
    """Return where the pairs under each guidance scale come from, all of one model; UsageError for no tolerance.

    batch: samples that the network gets at once, at most; as many as fit into memory if None.
    """
    if not 0 < tolerance < 1:
        raise UsageError(f"The tolerance must lie between 0 and 1, not {tolerance:g}.")
    suspected = told_once(model.model, model.name)
    if suspected is not None and listener is not None:
        listener.notice(suspected)
    everything = PairSource(
        model=model.model,
        name=model.name,
        seed=seed,
        tolerance=tolerance,
        cache=model.cache(cache) / "pairs",
        device=pairs_device(model.model, model.device),
        progress=None if listener is None else listener.stage,
        parts=Parts(batch, None if listener is None else listener.notice),
    )
    return [replace(everything, guidance=w + 0.0) for w in scales]  # -0 is 0


def combine(sources: Sequence[PairSource], weights: Sequence[float] = ()) -> Source:
    """Return what one solver is trained for: the only source, or a mixture of all."""
    return sources[0] if len(sources) == 1 and not weights else MixedSource(tuple(sources), tuple(weights))


@dataclass
class Trainings:
    """Solvers of one selection for one source, each NFE trained once and kept, so that what is interrupted can go on.

    weights: of the source's guidance scales. cache: the folder in which they are kept until `forget`. effort: how far each
    goes; a budget is for one NFE with all that is trained for it alone, so that no table depends on which others are asked
    for.
    """

    host: PluginHost
    selection: Selection[SolverSpec]
    source: Source
    listener: Listener
    weights: tuple[float, ...] = ()
    cache: Path = field(default_factory=cache_folder)
    effort: Effort | None = None

    def __post_init__(self) -> None:
        made, source = self.source.model, self.source
        check_readable(made.path)
        task: dict[str, object] = {"model": made.fingerprint(), "name": source.name, "dtype": str(made.dtype)}
        task |= {"guidance": source.guidance, "weights": list(self.weights)}
        task |= {"solver": self.selection.name, "version": self.selection.spec.version, "seed": source.seed}
        task |= {"tolerance": source.truth_tolerance}
        # A training with a budget is another course, and goes on where it was if it is asked for again.
        self.asked = self.effort or effort_in(made.shape)
        task |= {} if self.asked.budget is None else {"budget": self.asked.budget.key}
        task |= {"gain": self.asked.price} if self.asked.price else {}
        self.folder = self.cache / "training" / digest(task)
        self._known: dict[tuple[int, Budget | None], SolverArtefact] = {}
        self._variants: dict[str, Trainings] = {}

    def solver(self, nfe: int, budget: Budget | None = None) -> SolverArtefact:
        """Return the solver for an NFE, trained now unless it has been; with a budget of its own if one is given."""
        allowed = budget or self.asked.budget
        known = nfe, allowed
        if known not in self._known:
            self._known[known] = self._kept(nfe, allowed) or self._train(nfe, allowed)
        return self._known[known]

    def problem(self, nfe: int, budget: Budget | None = None) -> Problem:
        """Return the problem of training for an NFE; with a budget of its own if one is given."""
        allowed = budget or self.asked.budget

        def previous(below: int) -> SolverArtefact:
            return self.solver(below, None if allowed is None else allowed.part(LADDER_SHARE))

        return make_problem(
            self.source,
            self.host,
            previous=previous,
            progress=self.listener.training,
            checkpoint=self._file(nfe, allowed, "pt"),
            provider=self.selection.spec.provider,
            variant=self.variant,
            effort=replace(self.asked, budget=allowed),
            notice=self.listener.notice,
        )

    def variant(self, nfe: int, options: Mapping[str, Scalar]) -> SolverArtefact:
        """Return the same solver with other options for an NFE, kept likewise."""
        other, budget = with_options(self.selection, options), self.asked.budget
        if other.name not in self._variants:
            part = replace(self.asked, budget=None if budget is None else budget.part(FIRST_SHARE))
            self._variants[other.name] = replace(self, selection=other, effort=part)
        return self._variants[other.name].solver(nfe)

    def forget(self) -> None:
        """Delete what an interrupted training would have gone on from."""
        for variant in self._variants.values():
            variant.forget()
        if team().first:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, nfe: int, budget: Budget | None, kind: str) -> Path:
        """Return where a training, or a rung of one, is kept."""
        share = "" if budget is None or budget == self.asked.budget else f"-{digest({'budget': budget.key})}"
        return self.folder / f"nfe{nfe}{share}.{kind}"

    def _kept(self, nfe: int, budget: Budget | None) -> SolverArtefact | None:
        def loaded() -> SolverArtefact | None:
            try:
                return SolverArtefact.load(self._file(nfe, budget, "json"))
            except BnsbenchError:  # not there, or cut off
                return None

        return team().of_first(loaded)

    def _train(self, nfe: int, budget: Budget | None) -> SolverArtefact:
        artefact = train_solver(self.selection, self.problem(nfe, budget), nfe)
        file = self._file(nfe, budget, "json")
        if team().first:
            with cache_errors(self.folder):
                artefact.save(file)
        return artefact
