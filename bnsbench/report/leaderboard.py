"""The leaderboard: records as rows of a DataFrame, ranked per field and NFE."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from bnsbench.contract.sources import BUILTIN
from bnsbench.report.judging import GAIN, PARTS, STANDING, Entries, Judged, judge
from bnsbench.report.kinds import kinds
from bnsbench.report.measures import PSNR, direction_of, metric_names, metric_of, with_further
from bnsbench.suite.record import Record

FIELD = ("model", "guidance", "seed")
"""The columns that comparable solvers share, besides the NFE."""

IDENTITY = ("model", "guidance", "solver", "nfe", "seed")
SIZES = ("parameters", "train_examples")
"""Of what was learned: its numbers, and the pairs or images from which."""
FACTS = (
    *("kind", "rule", "grid", "shipped", "samples", "dtype", "ceiling", "forwards", "train_forwards", "teacher_forwards"),
    *(*SIZES, "solver_provider", "reason", "key"),
)
OF_RECORD = ("status", "shipped", "forwards", "train_forwards", "reason", "key")
"""Those that a record has under the same name."""

TIMINGS = ("seconds", "seconds_training", "seconds_total")


def leaderboard(records: Iterable[Record], planned: Iterable[str] = ()) -> pd.DataFrame:
    """Return one row per record, in the order given.

    Args:
        records: The records of a run.
        planned: The suite's metrics, which have columns (without a value) even where no record got as far as any metric.

    Returns:
        Columns: model, guidance, solver, nfe, seed, status; per measure its value and whichever of PARTS exist, of the best
        classic its name; kind ("classic", "tuned", "learned", "distilled" or "direct") of the solver, rule and grid of a
        tuned one, whether the package shipped it; forwards and train_forwards (network forwards per sample, and in total for
        training), further FACTS, of which SIZES only if some solver has them; last, TIMINGS in seconds. The measures are the
        metrics and, after PSNR, ``psnr_mse`` and ``psnr_p05``; see `bnsbench.report.measures`. ``frame.attrs`` lists the
        "metrics", PSNR first, the "measures", the "units" and "directions" of the measures, and the "devices" of the rows,
        on which TIMINGS depend.
    """
    return table(judge(list(records)), planned)


def table(judged: Judged, planned: Iterable[str] = ()) -> pd.DataFrame:
    """Return the `leaderboard` of records that have been judged; arguments and result are as there."""
    rows = judged.records
    metrics = metric_names(rows) or sorted(dict.fromkeys(planned), key=lambda name: name != PSNR)
    measures = with_further(metrics)
    solvers = component_names(rows, "solver")
    content: Entries = {f"{measure}{STANDING}": [""] * len(rows) for measure in measures}
    content |= judged.judgements
    content |= _facts(rows) | {"model": component_names(rows, "model"), "solver": solvers, "kind": kinds(rows)}
    name_of: dict[Any, str] = dict(zip((record.key for record in rows), solvers, strict=True))
    for over in (f"{measure}{GAIN[-1]}" for measure in measures):
        content[over] = [name_of.get(key) for key in content.get(over, ())]
    frame = _frame(content, metrics, measures)
    shown = [measure for measure in measures if measure in frame.columns]
    units = {PSNR: "dB"} | {name: score.unit for record in rows for name, score in record.metrics.items()}
    frame.attrs["metrics"], frame.attrs["measures"] = list(metrics), shown
    frame.attrs["units"] = {measure: units.get(metric_of(measure), "") for measure in shown}
    frame.attrs["directions"] = {measure: direction_of(rows, measure) for measure in shown}
    places = [record.environment for record in rows]
    frame.attrs["devices"] = Uncopied(str(place.get("device_name") or place.get("device") or "") for place in places)
    return frame


def _frame(content: Entries, metrics: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    """Return the columns as a frame, without those of measures that no record has."""
    parts = [f"{measure}{part}" for measure in measures for part in PARTS]
    values = {name: pd.Series(content.get(name, ()), dtype=object) for name in (*parts, *SIZES)}
    given = {*metrics} | {name for name, column in values.items() if not column.isna().all()}
    # A measure without any value has a standing all the same, which says nothing.
    given -= {f"{measure}{STANDING}" for measure in measures if measure not in given}
    left_out = {*parts, *SIZES} - given
    names = [name for name in (*IDENTITY, "status", *parts, *FACTS, *TIMINGS) if name not in left_out]
    missing = [math.nan] * len(content["key"])
    return pd.DataFrame({name: content.get(name, missing) for name in names})


class Uncopied(tuple[str, ...]):
    """A tuple of which no copies are made: pandas copies the attrs of a frame, deeply, in whatever it does with it."""

    def __deepcopy__(self, memo: object) -> Uncopied:
        """Return the same tuple, which nobody can change."""
        return self


def component_names(records: Sequence[Record], kind: Literal["model", "solver"]) -> list[str]:
    """Return the names of the records' models or solvers: their selectors, with the plugin's name where two have the same.

    Built-in components keep their plain names.
    """
    components = [record.cell[kind] for record in records]
    providers: dict[str, set[str]] = {}
    for each in components:
        providers.setdefault(_bare(each), set()).add(each["provider"])
    return [
        f"{each['provider']}/{each['name']}"
        if len(providers[_bare(each)]) > 1 and each["provider"] != BUILTIN
        else str(each["name"])
        for each in components
    ]


def _bare(component: Mapping[str, Any]) -> str:
    return str(component["name"].partition("[")[0])


def _facts(records: Sequence[Record]) -> Entries:
    """Return the columns that no measure has."""
    cells, solvers = [record.cell for record in records], [record.solver for record in records]
    return {
        **{name: [cell[name] for cell in cells] for name in ("guidance", "nfe", "seed", "samples")},
        **{name: [str(solver.get(name) or "") for solver in solvers] for name in ("rule", "grid")},
        **{name: [getattr(record, name) for record in records] for name in OF_RECORD},
        "dtype": [record.model.get("dtype") for record in records],
        "ceiling": [record.truth.get("ceiling") for record in records],
        "teacher_forwards": [solver.get("forwards", {}).get("teacher") for solver in solvers],
        "parameters": [solver.get("parameters") for solver in solvers],
        "train_examples": [solver.get("examples") for solver in solvers],
        "solver_provider": [cell["solver"]["provider"] for cell in cells],
        "seconds": [record.seconds.get("sampling") for record in records],
        "seconds_training": [record.seconds.get("training") for record in records],
        "seconds_total": [record.seconds.get("total") for record in records],
    }
