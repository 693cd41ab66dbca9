"""Whether a solver is used where it was trained: what is refused, and what is told, for every call that takes a solver."""

from __future__ import annotations

from bnsbench.api.named import FoundSolver, NamedModel
from bnsbench.errors import UsageError
from bnsbench.flows.guidance import check_scale
from bnsbench.flows.model import Model
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.scope import remark


def remark_on(solver: FoundSolver, model: NamedModel, guidance: float, strict: bool = False) -> str:
    """Return in what a trained solver is used elsewhere than where it was trained, "" if nowhere: it samples all the same.

    Args:
        solver: One without a file, such as a classic, is at home everywhere.
        model: That it samples.
        guidance: The scale w.
        strict: Whether to refuse what is only told otherwise.

    Raises:
        UsageError: For one of another path or interval, whose times would mean something else; or, if strict, for any
            difference.
        NotApplicableError: For a table of split columns under another guidance.
    """
    artefact = solver.artefact
    if artefact is None:
        return ""
    if other := elsewhere(artefact, model.model):
        raise UsageError(other)
    if artefact.solver.guidance is not None:
        check_scale(artefact.solver.guidance, guidance)
    return remark(artefact.scope, model.scope(guidance), artefact.training, strict)


def remark_beside(solver: FoundSolver, model: NamedModel, strict: bool = False) -> str:
    """Return in what a trained solver was not made for the model beside which it is looked at or exported.

    No guidance is named there, so that it differs in none. Raises UsageError if strict and something differs.
    """
    artefact = solver.artefact
    if artefact is None:
        return ""
    other = elsewhere(artefact, model.model)
    if other and strict:
        raise UsageError(other)
    return other or remark(artefact.scope, model.scope(), artefact.training, strict)


def elsewhere(artefact: SolverArtefact, model: Model) -> str:
    """Return that a solver was trained on another path or interval than the model's, "" if it was not."""
    if artefact.path == model.path and tuple(artefact.interval) == tuple(model.interval):
        return ""
    theirs, here = f"{artefact.path} on {list(artefact.interval)}", f"{model.path} on {list(model.interval)}"
    return f"The solver was trained on the {artefact.path.name} path, {theirs}; this model has {here}."
