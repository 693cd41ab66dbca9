"""The tables of docs/paper.md and of the README's part on distillation, made from results/paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).parents[1]
STUDENT_NFE = (1, 2, 4, 8, 16)
RIVALS = ("euler", "tuned", "bst", "bns", "bns[objective=features]", "bns[then=features]", "pd")
"""What stands beside students in the table of distillation, as far as it was run."""
QUALITIES = (
    "psnr",
    "fid-gt",
    "kid-gt",
    "fid",
    "precision",
    "recall",
    "coverage-gt",
    "coverage",
    "diversity",
    "accuracy",
    "alignment",
)
MARKED = {"psnr": max, "fid-gt": min, "kid-gt": min}
"""Measures by which solvers can be ranked, whose best value is bold; those to the data show the model's errors as well."""
ABLATED = "digits-gmm"


def paper() -> Any:
    """Return the cells of the paper's suite that gave a result."""
    found = pd.read_csv(ROOT / "results" / "paper" / "leaderboard.csv", keep_default_na=True)
    return found[found.status == "ok"]


def psnr() -> str:
    """Return PSNR by solver and NFE of every model and scale that mirrors a figure of the paper."""
    return _figures("psnr", "{:.1f}", max)


def fid() -> str:
    """Return the distance to the ground truth by solver and NFE of every model of pictures."""
    return _figures("fid-gt", "{:.3g}", min)


def sounds() -> str:
    """Return SNR by solver and NFE of text to speech and infilling."""
    return _figures("snr", "{:.1f}", max)


def _figures(measure: str, form: str, best: Callable[[Iterable[float]], float]) -> str:
    found = paper()
    if measure not in found:
        return _table(("model", "w", "solver"), [])
    rows = found[(found.model != ABLATED) & found[measure].notna() & (found.solver != "pd") & (found.nfe >= 4)]
    budgets = sorted(rows.nfe.unique())
    lines = []
    for (model, guidance), field in rows.groupby(["model", "guidance"], sort=False):
        values = field.pivot_table(index="solver", columns="nfe", values=measure, sort=False)
        for solver, line in values.iterrows():
            entries = [
                _number(line.get(nfe), form, best(values[nfe].dropna()) if nfe in values else None) for nfe in budgets
            ]
            lines.append([str(model), f"{guidance:g}", f"`{solver}`", *entries])
    return _table(("model", "w", "solver", *(f"NFE {nfe}" for nfe in budgets)), lines)


def distillation() -> str:
    """Return bns, its rivals and the students of every model that has students, at the students' numbers of steps."""
    found = paper()
    shown = [name for name in QUALITIES if name in found and found[found.solver == "pd"][name].notna().any()]
    lines = [line for field in _taught(found) for line in (_exact(field, shown), *_beside_students(field, shown))]
    head = ("model", "w", "NFE", "solver", *(f"`{name}`" if name != "psnr" else "PSNR" for name in shown))
    return _table((*head, "parameters", "forwards of training", "pairs or images"), lines, left=(0, 3))


def students() -> str:
    """Return for every model that has students PSNR and distance of bns and of them by NFE, and what both cost at 8."""
    lines = [_against_students(field) for field in _taught(paper())]
    head = ("model", "w", *(f"PSNR at {nfe}" for nfe in STUDENT_NFE), *(f"`fid-gt` at {nfe}" for nfe in (4, 8)))
    return _table((*head, "forwards of training", "pairs / images"), lines, left=(0,))


def _against_students(field: Any) -> list[str]:
    """Return a line of pairs: what bns has, and what the student has."""
    rows, first = field.set_index(["solver", "nfe"]), field.iloc[0]
    psnrs = [_pair(rows, nfe, "psnr", "{:.1f}".format, max) for nfe in STUDENT_NFE]
    distances = [_pair(rows, nfe, "fid-gt", "{:.2g}".format, min) for nfe in (4, 8)]
    costs = [_pair(rows, 8, name, count, None) for name in ("train_forwards", "train_examples")]
    return [str(first.model), f"{first.guidance:g}", *psnrs, *distances, *costs]


def _pair(rows: Any, nfe: int, name: str, form: Callable[[Any], str], best: Callable[..., Any] | None) -> str:
    values = [rows.loc[(solver, nfe), name] if (solver, nfe) in rows.index else None for solver in ("bns", "pd")]
    known = [value for value in values if not pd.isna(value)]
    texts = ["-" if pd.isna(value) else form(value) for value in values]
    marked = best(known) if best is not None and len(known) == len(values) else None
    bold = [marked is not None and value == marked for value in values]
    return " / ".join(f"**{text}**" if each else text for text, each in zip(texts, bold, strict=True))


def ablations() -> str:
    """Return every variant of bns and every other family at both budgets, beside bns as it is."""
    rows = paper()
    rows = rows[rows.model == ABLATED]
    values = rows.pivot_table(index="solver", columns="nfe", values=["psnr", "fid-gt", "train_forwards"], sort=False)
    budgets = sorted(rows.nfe.unique())
    lines = []
    for solver, line in values.iterrows():
        entries = []
        for nfe in budgets:
            gain = line["psnr", nfe] - values.loc["bns", ("psnr", nfe)]
            against = "" if solver == "bns" else f" ({gain:+.1f})"
            entries += [
                f"{line['psnr', nfe]:.1f}{against}",
                f"{line['fid-gt', nfe]:.3g}",
                count(line["train_forwards", nfe]),
            ]
        lines.append([f"`{solver}`", *entries])
    head = [f"{what} at {nfe}" for nfe in budgets for what in ("PSNR", "`fid-gt`", "forwards")]
    return _table(("solver", *head), lines)


def second_stage() -> str:
    """Return for real pictures at few evaluations what the second stage towards features gains and costs."""
    board: Any = pd.read_csv(ROOT / "results" / "second-stage" / "leaderboard.csv")
    found = board.set_index(["guidance", "nfe", "solver"])
    lines = []
    for guidance, nfe in dict.fromkeys((w, n) for w, n, _ in found.index):
        first, second = (found.loc[(guidance, nfe, name)] for name in ("bns", "bns[then=features]"))
        change = second["fid-gt"] / first["fid-gt"] - 1.0
        values = [f"{each:.1f}" for each in (first.psnr, second.psnr)]
        values += [f"{each:.3g}" for each in (first["fid-gt"], second["fid-gt"])] + [f"{change:+.0%}"]
        values += [f"{each:.3g}" for each in (first.fid, second.fid)]
        values += [count(each) for each in (first.train_forwards, second.train_forwards)]
        lines.append([f"{guidance:g}", f"{nfe}", *values])
    head = ("w", "NFE", "PSNR", "with the stage", "`fid-gt`", "with the stage", "change", "`fid`", "with the stage")
    return _table((*head, "forwards", "with the stage"), lines, left=())


def count(number: Any) -> str:
    """Return a count as people say it."""
    if pd.isna(number):
        return "-"
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.0f}"


def _taught(found: Any) -> Iterator[Any]:
    """Yield the rows of every model and scale that has students."""
    for _, field in found.groupby(["model", "guidance"], sort=False):
        if (field.solver == "pd").any():
            yield field


def _exact(field: Any, shown: Sequence[str]) -> list[str]:
    """Return the line of the model's exact solution, from what records say of it."""
    first = field.iloc[0]
    values = [_number(first.get(f"{name}_truth"), "{:.3g}", None) for name in shown]
    return [str(first.model), f"{first.guidance:g}", "", "exact solution", *values, "", "", ""]


def _beside_students(field: Any, shown: Sequence[str]) -> Iterator[list[str]]:
    for nfe in STUDENT_NFE:
        rows = field[(field.nfe == nfe) & field.solver.isin(RIVALS)]
        if rows.empty:
            continue
        rows = rows.sort_values("solver", key=lambda names: names.map(RIVALS.index))
        bounds = {name: best(rows[name]) for name, best in MARKED.items() if name in shown}
        for _, row in rows.iterrows():
            values = [_number(row[name], "{:.1f}" if name == "psnr" else "{:.3g}", bounds.get(name)) for name in shown]
            costs = [count(row.parameters), count(row.train_forwards), count(row.train_examples)]
            yield [str(row.model), f"{row.guidance:g}", str(nfe), f"`{row.solver}`", *values, *costs]


def _number(value: Any, form: str, best: Any) -> str:
    if pd.isna(value):
        return "-"
    return f"**{form.format(value)}**" if value == best else form.format(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0, 2)) -> str:
    rule = ["---" if index in left else "---:" for index in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(head), rule, *map(list, rows)])


TABLES: dict[str, Callable[[], str]] = {
    "paper_psnr": psnr,
    "paper_fid": fid,
    "paper_sounds": sounds,
    "distillation": distillation,
    "students": students,
    "ablations": ablations,
    "second_stage": second_stage,
}
