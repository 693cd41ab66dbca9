"""The plan: a suite as a list of cells, each with a key that depends on nothing but its content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self, TypeVar

from bnsbench.contract import PluginHost, Selection
from bnsbench.contract.sources import BUILTIN
from bnsbench.contract.specs import MetricSpec, ModelSpec, Scalar, SolverKind, SolverSpec, Spec
from bnsbench.errors import UsageError
from bnsbench.models.shipped_files import shipped_file
from bnsbench.storage.files import name_of
from bnsbench.storage.plain_data import digest
from bnsbench.suite.suitefile import ModelEntry, Suite

ALIKE = ("tolerance", "dtype", "samples")
"""What a model has once in a suite: its cells could not be compared otherwise."""

_S = TypeVar("_S", bound=Spec)


@dataclass(frozen=True)
class Component:
    """A selected model, solver or metric: its canonical selector and everything that may change its results.

    qualified: whether its name is shown with the provider, because another plugin has the same name; no part of the key.
    """

    name: str
    provider: str
    version: str
    parameters: Mapping[str, Scalar]
    qualified: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, selection: Selection[Any]) -> Self:
        """Return the component that a selection means, with its parameters: all but later ones that nobody has set."""
        spec, given = selection.spec, selection.parameters
        unset = {name for name in spec.later if given[name] == spec.parameters[name]}
        parameters = {name: value for name, value in given.items() if name not in unset}
        return cls(selection.canonical, spec.provider, spec.version, parameters, selection.qualified)

    @property
    def selector(self) -> str:
        """The selector that means this component and no other, whatever is installed."""
        return f"{self.provider}/{self.name}"

    @property
    def shown(self) -> str:
        """The name for people: the selector, with the provider where another plugin has the same name."""
        return self.selector if self.qualified else self.name

    @cached_property
    def content(self) -> dict[str, Any]:
        """Everything that identifies it, as plain data."""
        return {
            "name": self.name,
            "provider": self.provider,
            "version": self.version,
            "parameters": dict(self.parameters),
        }


@dataclass(frozen=True)
class MetricComponent(Component):
    """A selected metric, and how its values read."""

    direction: Literal["higher", "lower"] = "higher"
    unit: str = ""

    @classmethod
    def of(cls, selection: Selection[Any]) -> Self:
        """Return the metric that a selection means, with all of its parameters."""
        spec: MetricSpec = selection.spec
        return replace(super().of(selection), direction=spec.direction, unit=spec.unit)


@dataclass(frozen=True)
class Cell:
    """One comparison: a model under a guidance scale, sampled by a solver that spends ``nfe`` evaluations per sample.

    kind: of the solver.
    samples: size of the test split.
    tolerance: of the ground truth.
    dtype: None for the model's own.
    metrics: what its record must hold; not part of the key, so a new metric completes a record instead of starting another.
    skip: why the cell cannot be run at all, or None.
    gflops: 10^9 operations of a network forward, for estimates.
    """

    model: Component
    guidance: float
    solver: Component
    kind: SolverKind
    nfe: int
    seed: int
    samples: int
    tolerance: float
    dtype: str | None = None
    metrics: tuple[MetricComponent, ...] = field(default=(), compare=False)
    skip: str | None = field(default=None, compare=False)
    gflops: float | None = field(default=None, compare=False)

    @cached_property
    def field_content(self) -> dict[str, Any]:
        """The facts that determine the velocity field, the noise and the ground truth; cells with the same share those."""
        return {
            "model": self.model.content,
            "guidance": self.guidance,
            "seed": self.seed,
            "tolerance": self.tolerance,
            "dtype": self.dtype or "model",
        }

    @cached_property
    def field_digest(self) -> str:
        """A hash of the field's content."""
        return digest(self.field_content)

    @cached_property
    def content(self) -> dict[str, Any]:
        """The cell as plain data: the input of its key."""
        return {**self.field_content, "solver": self.solver.content, "nfe": self.nfe, "samples": self.samples}

    @cached_property
    def key(self) -> str:
        """A readable slug and a hash of the content, fit for a file name."""
        slug = f"{self.model.name}_w{self.guidance:g}_{self.solver.name}_nfe{self.nfe}_seed{self.seed}"
        return f"{name_of(slug)}-{digest(self.content)}"

    @property
    def label(self) -> str:
        """The cell in a few words."""
        return f"{self.model.shown} w={self.guidance:g} {self.solver.shown} NFE {self.nfe}"

    @property
    def forwards_per_evaluation(self) -> int:
        """Network forwards that an evaluation is expected to cost per sample: undistilled guidance doubles them."""
        return 1 if self.guidance == 0 or self.kind == "distilled" else 2

    @property
    def forwards(self) -> int:
        """Network forwards per sample that the cell is expected to cost."""
        return self.nfe * self.forwards_per_evaluation

    @property
    def trained(self) -> bool:
        """Whether the solver has to be trained or tuned first."""
        return self.kind in ("trained", "tuned")

    @cached_property
    def shipped(self) -> bool:
        """Whether the package has a trained solver for it; one for other weights or of another version does not count."""
        if not self.trained or self.model.provider != BUILTIN:
            return False
        return shipped_file(self.model.shown, self.guidance, self.solver.shown, self.nfe).is_file()

    def needs_training(self, retrain: bool = False) -> bool:
        """Return whether its solver is to be trained or tuned: also one that the package has, if ``retrain`` asks for it."""
        return self.trained and (retrain or not self.shipped)


def make_plan(suite: Suite, host: PluginHost) -> tuple[Cell, ...]:
    """Return the suite's cells by model, guidance, solver and NFE.

    A model may be named several times, as with other solvers at another scale: a cell that several entries give is one, with
    the metrics of all. Cells that cannot be run (guidance on a model without it, an NFE that a solver cannot spend) carry
    the reason.

    Raises:
        UsageError: If no plugin offers a name, or a model is named again with other samples, tolerance or precision.
    """
    first: dict[str, ModelEntry] = {}
    cells: dict[str, Cell] = {}
    for entry in suite.full_entries():
        model = host.model(entry.name)
        _check_alike(model.name, first.setdefault(model.name, entry), entry)
        for cell in _cells(entry, model, suite.seed, host):
            before = cells.get(cell.key)
            cells[cell.key] = cell if before is None else replace(before, metrics=_joined(before.metrics, cell.metrics))
    return tuple(cells.values())


def _check_alike(model: str, one: ModelEntry, other: ModelEntry) -> None:
    for what in ALIKE:
        if getattr(one, what) != getattr(other, what):
            raise UsageError(
                f"The suite names the model {model} twice, with {what} {getattr(one, what)} and {getattr(other, what)}:"
                " a model has one of each in a suite."
            )


def _joined(metrics: tuple[MetricComponent, ...], more: tuple[MetricComponent, ...]) -> tuple[MetricComponent, ...]:
    return tuple({metric.name: metric for metric in (*metrics, *more)}.values())


def _cells(entry: ModelEntry, model: Selection[ModelSpec], seed: int, host: PluginHost) -> Iterator[Cell]:
    """Yield a model's cells, which share their components; the entry has everything of its own."""
    chosen = _unique([host.metric(name) for name in entry.metrics or ()])
    metrics, component = tuple(map(MetricComponent.of, chosen)), Component.of(model)
    solvers = [(each, Component.of(each)) for each in _unique([host.solver(name) for name in entry.solvers or ()])]
    for guidance in sorted(set(entry.guidance)):
        for solver, solves in solvers:
            for nfe in entry.nfe or ():
                yield Cell(
                    model=component,
                    guidance=float(guidance),
                    solver=solves,
                    kind=solver.spec.kind,
                    nfe=nfe,
                    seed=seed,
                    samples=entry.samples or 0,
                    tolerance=entry.tolerance,
                    dtype=entry.dtype,
                    metrics=metrics,
                    skip=_reason_to_skip(model, guidance, solver.spec, nfe),
                    gflops=entry.gflops,
                )


def _reason_to_skip(model: Selection[ModelSpec], guidance: float, solver: SolverSpec, nfe: int) -> str | None:
    if guidance != 0 and not model.spec.guidable:
        return f"{model.name} has no unconditional prediction, so guidance {guidance:g} is not defined for it"
    reason = solver.budgets.reason_against(nfe)
    return None if reason is None else f"{solver.name} {reason}"


def _unique(selections: list[Selection[_S]]) -> list[Selection[_S]]:
    return list({selection.name: selection for selection in selections}.values())
