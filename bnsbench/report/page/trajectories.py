"""Trajectories in the plane over the density of the data: the ground truth's, and those of two solvers from the same noise.

They are computed when a page is made, for the package's own exact mixtures alone: a results folder can be anybody's, and
no other model is asked to run, nor is one that has changed since.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bnsbench.contract import PluginHost
from bnsbench.contract.sources import BUILTIN
from bnsbench.errors import BnsbenchError
from bnsbench.report.kinds import CLASSIC, LEARNED, TUNED
from bnsbench.report.matrix import readable
from bnsbench.report.page.learned import artefact_of
from bnsbench.report.page.markup import Html, tag, void
from bnsbench.report.page.media import Allowance
from bnsbench.report.page.palette import Ink
from bnsbench.report.page.sources import Cell, Scenario

if TYPE_CHECKING:
    from torch import Tensor

    from bnsbench.flows.model import ModelField
    from bnsbench.models.mixtures import MixtureModel
    from bnsbench.nonstationary.table import NonStationarySolver

COUNT = 32
"""Trajectories that are drawn, of the first samples that were measured."""
POINTS = 33
"""Points of a trajectory of the ground truth."""
TOLERANCE = 1e-5
"""Of the ground truth's solve, which no eye tells from an exact one."""
SHADE = (90, 130, 190)
"""The colour of the density, on either ground."""
PIXELS, SIDE = 160, 360
"""The sides of the density's raster and of a figure."""
FARTHEST = 2.0
"""What is seen at most, in units of the largest end state: noise of paths that begin far away comes from without."""

Ways = NDArray[np.float64]
"""States [points, samples, 2]."""


@dataclass(frozen=True)
class _Plane:
    """A field in the plane, with the noise [samples, 2] of samples, and the ground truth from there."""

    model: MixtureModel
    field: ModelField
    initial: Tensor
    truth: Ways

    @property
    def reach(self) -> float:
        """Half of the side that is seen."""
        end = float(np.abs(self.truth[-1]).max())
        return 1.05 * min(float(np.abs(self.truth).max()), FARTHEST * end)


class _Watched:
    """A field that keeps the states at which it is evaluated."""

    def __init__(self, field: ModelField) -> None:
        self.field, self.path, self.interval = field, field.path, field.interval
        self.seen: list[Tensor] = []

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.field(t, x)


def trajectories(scenario: Scenario, colours: Mapping[str, Ink], allowance: Allowance) -> Html | None:
    """Return trajectories of the best learned solver and the best classic at the headline NFE, over the ground truth's.

    Args:
        scenario: The scenario.
        colours: Of the page's solvers.
        allowance: The bytes that are left.

    Returns:
        None where the model is no exact mixture in the plane of this package, or no solver can be run.
    """
    cells = _compared(scenario)
    if not cells:
        return None
    host = PluginHost.load()
    try:
        plane = _plane(scenario, cells[0], host)
        ways = [] if plane is None else [(cell, _ways(plane, scenario, cell, host)) for cell in cells]
    except BnsbenchError:
        return None
    drawn = [(cell, found) for cell, found in ways if found is not None]
    if plane is None or not drawn:
        return None
    ground = allowance.uri(_density(plane.model, plane.reach), "image/png")
    figures = [_figure(scenario, cell, found, plane, colours[cell.solver], ground) for cell, found in drawn]
    note = (
        f"The ways of the first {COUNT} samples at {scenario.headline} NFE over the exact density of the data. Circles:"
        " noise; dots: where the solver evaluates the field, and where it ends; grey: the ground truth from the same noise."
    )
    return tag("div", tag("p", note, class_="note"), tag("div", figures, class_="maps"), class_="trajectories")


def _compared(scenario: Scenario) -> list[Cell]:
    """Return the best learned cell and the best classic one at the headline NFE by the first measure."""
    if not scenario.measures:
        return []
    measure = scenario.measures[0]
    sign = -1.0 if measure.direction == "higher" else 1.0
    known = [cell for cell in scenario.at(scenario.headline) if measure.name in cell.values]
    known.sort(key=lambda cell: sign * cell.values[measure.name].value)
    best = (next((cell for cell in known if cell.kind in kinds), None) for kinds in ((LEARNED,), (TUNED, CLASSIC)))
    return [cell for cell in best if cell is not None]


def _plane(scenario: Scenario, cell: Cell, host: PluginHost) -> _Plane | None:
    """Return the field in which a cell was measured; None if it is none of the plane, or has changed."""
    record = scenario.source.record(cell.key)
    if record is None or record.cell["model"]["provider"] != BUILTIN:
        return None
    name = record.cell["model"]["name"]
    selection = host.model(f"{BUILTIN}/{name}")
    if selection.spec.modality != "points":
        return None
    import torch  # noqa: PLC0415 (slow to import)

    from bnsbench.models.mixtures import MixtureModel  # noqa: PLC0415 (loads torch)
    from bnsbench.truth.ground_truth import solve_each  # noqa: PLC0415 (likewise)
    from bnsbench.truth.pairs import PairSource  # noqa: PLC0415 (likewise)

    model = selection.make()
    if not isinstance(model, MixtureModel) or model.shape != (2,) or model.fingerprint() != record.model.get("fingerprint"):
        return None
    source = PairSource(model=model, name=name, guidance=scenario.guidance, seed=scenario.seed)
    indices = torch.arange(min(COUNT, int(cell.row["samples"])))
    initial = source.initial("test", indices)
    truth = solve_each(source.field(indices), initial, TOLERANCE, POINTS)
    if not bool(truth.states.isfinite().all()):
        return None
    return _Plane(model, source.field(indices), initial, truth.states.double().numpy())


def _ways(plane: _Plane, scenario: Scenario, cell: Cell, host: PluginHost) -> Ways | None:
    """Return the states at which a cell's solver evaluates the field, and its end; None if it is not as it was measured."""
    table = _table(plane, scenario, cell, host)
    if table is None:
        return None
    import torch  # noqa: PLC0415 (slow to import)

    watched = _Watched(plane.field)
    with torch.no_grad():
        end = table(watched, plane.initial)
    states = torch.stack([*watched.seen, end]).double()
    return states.numpy() if bool(states.isfinite().all()) else None


def _table(plane: _Plane, scenario: Scenario, cell: Cell, host: PluginHost) -> NonStationarySolver | None:
    """Return the table of a cell's solver with which it was measured."""
    from bnsbench.nonstationary.table import NonStationarySolver  # noqa: PLC0415 (loads torch)
    from bnsbench.solvers.samplers import sampler_of  # noqa: PLC0415 (likewise)

    record = scenario.source.record(cell.key)
    if record is None:
        return None
    found: object = None
    if "file" in record.solver:
        artefact = artefact_of(scenario, cell)
        found = None if artefact is None else artefact.solver
    elif cell.kind == CLASSIC and record.cell["solver"]["provider"] == BUILTIN:
        selection = host.solver(f"{BUILTIN}/{record.cell['solver']['name']}")
        found = sampler_of(selection, cell.nfe, plane.model.path, plane.model.interval)
    if not isinstance(found, NonStationarySolver) or found.fingerprint() != record.solver.get("fingerprint"):
        return None
    return found


def _density(model: MixtureModel, reach: float) -> bytes:
    """Return the density of the data as a picture whose opacity is its square root, relative to the highest."""
    import torch  # noqa: PLC0415 (slow to import)
    from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal  # noqa: PLC0415 (likewise)

    mixture = model.mixture
    components = MultivariateNormal(mixture.means, scale_tril=mixture.factors)
    middle = torch.linspace(-1.0, 1.0, 2 * PIXELS + 1, dtype=torch.float64)[1::2] * reach
    places = torch.stack(torch.meshgrid(middle, middle.flip(0), indexing="xy"), dim=-1)
    density = MixtureSameFamily(Categorical(mixture.weights), components).log_prob(places)  # type: ignore[no-untyped-call]
    shades = (0.5 * (density - density.max())).exp().numpy()
    pixels = np.empty((PIXELS, PIXELS, 4), dtype=np.uint8)
    pixels[..., :3], pixels[..., 3] = SHADE, np.round(255 * shades)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _figure(scenario: Scenario, cell: Cell, ways: Ways, plane: _Plane, ink: Ink, ground: str | None) -> Html:
    measure = scenario.measures[0]
    shown, truth = (_placed(states, plane.reach) for states in (ways, plane.truth))
    said = f"{cell.solver}, {cell.nfe} NFE: {readable(cell.values[measure.name].value)} {measure.unit}".rstrip()
    inner = [
        void("image", href=ground, width=SIDE, height=SIDE) if ground else None,
        void("path", class_="truth", d=_lines(truth)),
        void("path", class_="line", d=_lines(shown)),
        (void("circle", class_="begun", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3) for x, y in shown[0]),
        (void("circle", class_="own", cx=f"{x:.1f}", cy=f"{y:.1f}", r=1.2) for states in shown[1:-1] for x, y in states),
        (void("circle", class_="own", cx=f"{x:.1f}", cy=f"{y:.1f}", r=2.6) for x, y in shown[-1]),
    ]
    label = f"trajectories of {said}, over the density of {scenario.title}"
    picture = tag("svg", inner, class_=f"plane s{ink.number}", viewBox=f"0 0 {SIDE} {SIDE}", role="img", aria_label=label)
    return tag("figure", picture, tag("figcaption", said), data_s=ink.number)


def _placed(states: Ways, reach: float) -> Ways:
    """Return states as places in a figure, whose second axis points down."""
    return (1.0 + states * [1.0, -1.0] / reach) * (SIDE / 2)


def _lines(places: Ways) -> str:
    """Return the ways of samples as one path."""
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in way) for way in places.swapaxes(0, 1))
