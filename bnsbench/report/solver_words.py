"""A solver's table and the record of its training in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bnsbench.errors import CorruptFileError
from bnsbench.flows.guidance import guidance_in_words
from bnsbench.flows.paths import Path
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.engine import columns_of
from bnsbench.nonstationary.properties import Distance, Properties, distance, properties
from bnsbench.nonstationary.table import NonStationarySolver

CONSISTENT = 1e-9
"""Residuals of the sum rules up to this size count as rounding."""

LEARNING = ("family", "objective", "optimiser")
"""Keys of a training record that say in a word or two how a solver was trained."""


def names_of_weights(rows: Tensor) -> list[str]:
    """Return the names of the weights in rows [n, 1 + n columns], such as b[i,0], with c between where columns are split."""
    letters = "bc"[: columns_of(rows)]
    return [f"{letter}[i,{j}]" for j in range(len(rows)) for letter in letters]


def properties_in_words(table: NonStationarySolver, path: Path) -> list[str]:
    """Return lines on the table's size, its errors' growth, and whether its rows are consistent on the path."""
    figures = properties(table, path)
    euler_noise, euler_limit = table.nfe**-0.5, 2 * table.nfe
    decays = ", ".join(f"{error:.2g} at z = {z:g}" for z, error in figures.decay_errors.items())
    return [
        *_split(table),
        f"largest |b|: {figures.largest_b:.4g}",
        f"times increase strictly: {'yes' if figures.increasing else 'no'}",
        f"start gain: {figures.start_gain:.4g} (an error of x[0] moves x[n] by this times itself, the field aside)",
        f"noise gain: {figures.noise_gain:.3g}, at most {figures.largest_noise_gain:.3g} on the way, Euler {euler_noise:.3g}"
        " (independent errors of size s in u move x[n] by this times s T)",
        f"stability limit: {figures.stability_limit:.4g}, Euler {euler_limit}"
        " (dx/dt = z x / T stays within max(1, start gain) for z from minus this to 0)",
        f"decay: its x[n] misses exp(z) by {decays}, where T = t[n] - t[0]",
        *_sum_rules(figures, path),
    ]


def _split(table: NonStationarySolver) -> list[str]:
    """Return a line on what b and c weigh where columns are split."""
    if table.guidance is None:
        return []
    return [
        "columns are split: b[i,j] weighs u[j] with the condition and c[i,j] u[j] without it,"
        f" for guidance {table.guidance:g} alone; the sum rules and R(z) are those of b + c"
    ]


def _sum_rules(figures: Properties, path: Path) -> list[str]:
    largest = f"largest residual: noise {figures.noise_error:.2e}, data {figures.data_error:.2e}"
    if max(figures.noise_error, figures.data_error) <= CONSISTENT:
        lines = [f"all rows fulfil the sum rules of the path; {largest}"]
    else:
        lines = [
            f"some rows miss the sum rules of the path; {largest}",
            "  noise: how much more of the noise than sigma(t[i+1]) is in x[i+1], if all data are one point",
            "  data: how much more of the data than alpha(t[i+1]) is in x[i+1], if all data are one point",
        ]
    on_condot = ["  (on CondOT the rules are: a[i] = 1, and the sum of row i of b = t[i+1] - t[0])"]
    return lines + (on_condot if path.name == "condot" else [])


def names_in_words(known_as: tuple[str, ...]) -> list[str]:
    """Return a line with the names under which other software knows a solver, none if it has no such names."""
    return [f"also known as: {'; '.join(known_as)}"] if known_as else []


def origin_in_words(artefact: SolverArtefact) -> list[str]:
    """Return lines on what a trained solver was made for, and how; what its record lacks, or says oddly, is left out."""
    record = artefact.training
    made_for = f"{artefact.model} at guidance {guidance_in_words(artefact.guidance)}"
    rule, grid, stopped = (_text(record, key) for key in ("rule", "grid", "stopped"))
    tuned, parents = bool(rule and grid), _parents(record)
    made = "blended" if parents else "tuned" if tuned else "trained"
    return [
        f"{made} for {made_for}, weights {artefact.fingerprint[:12]}",
        *([f"its network: {state}"] if (state := artefact.network.in_words) else []),
        *parents,
        *([f"{rule} on the grid {grid}"] if tuned else []),
        *_learning(record),
        *_start(artefact),
        *_validation(record),
        *_cost(record),
        *([f"stopped: {stopped}"] if stopped else []),
    ]


def start_of(artefact: SolverArtefact) -> tuple[str | None, Distance | None]:
    """Return the name of the table that the training started from and the distance from it, as far as they are recorded."""
    start = artefact.training.get("start")
    if not isinstance(start, Mapping):
        return _text(artefact.training, "start") or None, None
    name = _text(start, "name") or None
    try:
        table = NonStationarySolver.from_dict(start["table"])
    except (KeyError, CorruptFileError):
        return name, None
    return name, distance(table, artefact.solver) if table.nfe == artefact.solver.nfe else None


def _text(record: Mapping[str, Any], key: str) -> str:
    """Return a text of a record, "" if it is none."""
    found = record.get(key)
    return found if isinstance(found, str) else ""


def _number(record: Mapping[str, Any], key: str) -> float | None:
    """Return a number of a record, None if it is none."""
    found = record.get(key)
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _parents(record: Mapping[str, Any]) -> list[str]:
    """Return a line on the tables that a blend lies between, none for anything else."""
    found = record.get("parents")
    known = [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
    scales = [_number(each, "guidance") for each in known]
    told = [f"{_text(each, 'name')} at guidance {w:g}" for each, w in zip(known, scales, strict=True) if w is not None]
    return [f"between {' and '.join(told)}"] if len(told) == 2 else []


def _learning(record: Mapping[str, Any]) -> list[str]:
    facts = [f"{key} {_text(record, key)}" for key in LEARNING if _text(record, key)]
    return [", ".join(facts)] if facts else []


def _start(artefact: SolverArtefact) -> list[str]:
    name, gaps = start_of(artefact)
    if gaps is None:
        return [f"started from {name}"] if name else []
    largest = f"times {gaps.times:.3g}, a {gaps.a:.3g}, b {gaps.b:.3g}"
    return [f"started from {name or 'a table of its record'}, largest differences: {largest}"]


def _validation(record: Mapping[str, Any]) -> list[str]:
    """Return a line on pairs and validation PSNR; a number that was not finite is None in the record."""
    pairs, psnr, validation = (_number(record, key) for key in ("pairs", "psnr", "validation_pairs"))
    facts = [f"trained on {pairs} pairs"] if pairs else []
    if psnr is not None:
        facts.append(f"validation PSNR {psnr:.2f} dB{f' over {validation} pairs' if validation else ''}")
    return [", ".join(facts)] if facts else []


def _cost(record: Mapping[str, Any]) -> list[str]:
    found = record.get("forwards")
    forwards = {kind: _number(found, kind) or 0 for kind in found} if isinstance(found, Mapping) else {}
    seconds = _number(record, "seconds")
    facts = []
    if forwards:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in forwards.items())
        facts.append(f"{sum(forwards.values()):,} network forwards ({kinds})")
    if seconds is not None:
        facts.append(f"{seconds:.1f} seconds")
    return [f"cost: {', '.join(facts)}"] if facts else []
