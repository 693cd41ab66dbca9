"""Frozen records with which plugins describe their components; nothing here imports torch.

A record names its component's factory as ``"package.module:attribute"``, so listing components stays cheap; the
factory is imported when a component is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Scalar = bool | int | float | str


@dataclass(frozen=True)
class Spec:
    """The base of all records: the facts that every component declares.

    Attributes:
        name: Lower-case identifier, unique within its provider.
        target: ``"package.module:attribute"`` of a callable that takes ``parameters`` as keywords.
        summary: One sentence for listings.
        version: Changes whenever the component's results may change; it is part of every cell's key.
        parameters: The keywords that the target accepts, with their default values: what ``name[key=value]`` may set.
        later: Names of parameters that came after the version, whose defaults leave all results as they were: at its
            default such a parameter is no part of a key, so that results from before it stay valid.
        provider: Name of the plugin that offered the record; filled in by the plugin host.
    """

    name: str
    target: str
    summary: str = ""
    version: str = "1"
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    provider: str = ""
    later: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelSpec(Spec):
    """A model; its target returns a `bnsbench.Model`.

    Attributes:
        guidable: Whether it has an unconditional prediction, so that guidance scales other than 0 make sense.
        modality: What it generates ("image", "video", "audio", "points", ...), for previews; "audio" anyway if the
            model has a sample rate.
    """

    guidable: bool = False
    modality: str = "image"


MOST_EVALUATIONS = 4096
"""The largest NFE: a table of n evaluations has n^2 numbers, and comparisons of solvers end long before."""


@dataclass(frozen=True)
class Budgets:
    """The NFE values that a solver can spend exactly: ``minimum + k * step`` for k = 0, 1, ...

    Attributes:
        minimum: The least NFE, 1 or more.
        step: The difference between two neighbouring ones, such as the stages of a Runge-Kutta rule.
    """

    minimum: int = 1
    step: int = 1

    def reason_against(self, nfe: int) -> str | None:
        """Return why the solver cannot spend exactly ``nfe`` evaluations, as part of a sentence; None if it can."""
        if nfe > MOST_EVALUATIONS:
            return f"spends at most {MOST_EVALUATIONS:,} evaluations"
        if nfe < self.minimum:
            return f"needs at least {self.minimum} evaluations, not {nfe}"
        if (nfe - self.minimum) % self.step:
            first = ", ".join(str(self.minimum + k * self.step) for k in range(3))
            return f"spends {first}, ... evaluations, not {nfe}"
        return None


SolverKind = Literal["traced", "direct", "trained", "tuned", "distilled"]


@dataclass(frozen=True)
class SolverSpec(Spec):
    """A solver, which is one of five kinds.

    - "traced": ``target(field, x0, nfe, **parameters) -> x1``, linear in x0 and the field's values; it is traced into a
      non-stationary table once, and the table samples.
    - "direct": the same signature, run as it is (adaptive, stochastic or thresholding samplers).
    - "trained": ``target(problem, nfe, **parameters) -> SolverArtefact``, with `bnsbench.plugin.Problem`.
    - "tuned": the same signature, for a classic solver whose time grid is searched; ``name[grid=best]`` of every traced
      solver with the parameter ``grid`` is one.
    - "distilled": ``target(model, guidance, nfe, **parameters) -> Student``, with `bnsbench.plugin.Student`: networks that
      were distilled from a model for a fixed number of steps; NotApplicableError for models that have none.

    Attributes:
        kind: Which of the five its target is.
        order: Declared order of convergence, None where it has no meaning.
        budgets: The NFE values that it can spend.
        reference: The paper, with equation or algorithm number.
        stages: Evaluations per step of the time grid, for solvers with the parameter ``grid``: a grid that is given as a
            float64 tensor of times has nfe // stages steps, from the interval's begin to its end.
        known_as: Other software's names of the same solver, each as "name (software)" or, where needed, as
            "name[key=value] at condition (software): selector", with the selector that means it here if the bare name
            does not.
    """

    kind: SolverKind = "traced"
    order: int | None = None
    budgets: Budgets = Budgets()
    reference: str = ""
    stages: int = 1
    known_as: tuple[str, ...] = ()

    @property
    def trained(self) -> bool:
        """Whether its target makes a table for a problem, trained or tuned, in place of sampling itself."""
        return self.kind in ("trained", "tuned")


@dataclass(frozen=True)
class MetricSpec(Spec):
    """A metric; its target returns a callable from `bnsbench.plugin.SampleSet` to `bnsbench.plugin.MetricValue`.

    Attributes:
        direction: Whether higher or lower values are better.
        unit: Such as "dB"; empty for pure numbers.
    """

    direction: Literal["higher", "lower"] = "higher"
    unit: str = ""


@dataclass(frozen=True)
class SuiteSpec:
    """A suite file that a plugin ships.

    Attributes:
        name: Lower-case identifier, unique within its provider.
        file: Its path on disk.
        summary: One sentence for listings.
        provider: Name of the plugin that offered the record; filled in by the plugin host.
    """

    name: str
    file: Path
    summary: str = ""
    provider: str = ""


@dataclass(frozen=True)
class ExecutorSpec(Spec):
    """A way to run cells; its target returns a `bnsbench.plugin.Executor`."""


@dataclass(frozen=True)
class ReportSpec(Spec):
    """A rendering of a leaderboard; its target maps a pandas DataFrame of rows to text.

    Attributes:
        suffix: Of files that hold such a text.
    """

    suffix: str = ".txt"


@dataclass(frozen=True)
class ExporterSpec(Spec):
    """A format that other software reads solvers in.

    Its target, ``target(artefact, folder, **parameters) -> Path``, writes a
    `bnsbench.SolverArtefact` into the folder and returns the path of what it has written.
    """


@dataclass(frozen=True)
class PathSpec(Spec):
    """A probability path, for models that take one by name, as "name:NUMBER:NUMBER".

    Its target takes the numbers, which are its parameters, and returns what `bnsbench.paths.as_path` makes a path of: a
    `bnsbench.paths.Path`, the functions (alpha, sigma) of time, or a scheduler of flow_matching.
    """


AnySpec = ModelSpec | SolverSpec | MetricSpec | SuiteSpec | ExecutorSpec | ReportSpec | ExporterSpec | PathSpec
Parameters = Mapping[str, Any]
