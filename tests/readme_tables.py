"""The tables of README and docs/, made from the committed results and from the package: `python -m tests.readme_tables`.

A table stands between two comments, ``<!-- table: NAME -->`` and ``<!-- end -->``; the tests make each anew and compare.
The same command draws the pictures of the package's floors.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from bnsbench.models.shipped_files import shipped_file
from bnsbench.models.shipping import SHIPMENTS
from bnsbench.nonstationary.artefact import SolverArtefact
from tests import paper_tables, plan_tables
from tests.docs import architecture, commands

ROOT = Path(__file__).parents[1]

BUDGETS = (4, 6, 8, 12)
GAINS = ("psnr", "psnr_mse", "psnr_p05")
"""The measures of a gain: the mean over samples of dB, the dB of the mean squared error, and the worst twentieth."""


MEASURES = {
    "psnr": "mean of dB",
    "psnr_mse": "dB of the mean squared error",
    "psnr_p05": "5 % quantile",
    "fid-gt": "`fid-gt`",
}


def board(name: str) -> pd.DataFrame:
    """Return the published leaderboard of a suite."""
    return pd.read_csv(ROOT / "results" / name / "leaderboard.csv", keep_default_na=True)


def headline() -> str:
    """Return what is learned beside the best tuned classic at 8 NFE, field by field."""
    head: tuple[str, ...] = ("model", "w", "bns", "best tuned classic", "on the grid", "its PSNR")
    head += ("gain (95 %)", "in mean MSE", "5 % quantile", "forwards of bns", "of the classic")
    return _table(head, [_headline_row(rows) for _, rows in _fields(board("default"), 8)], left=(0, 3, 4))


def _headline_row(rows: pd.DataFrame) -> list[str]:
    bns = rows[rows.solver == "bns"].iloc[0]
    best = rows[rows.solver == bns.psnr_gain_over].iloc[0]
    half = (bns.psnr_high - bns.psnr_low) / 2
    rule = best.solver.replace("grid=best,", "").replace("[grid=best]", "")
    grid = best.grid if isinstance(best.grid, str) else "plain"
    forwards = [_forwards(bns.train_forwards), _forwards(best.train_forwards)]
    figures = [f"**{bns.psnr:.1f}** ± {half:.1f}", f"`{rule}`{_rule(best)}", grid, f"{best.psnr:.1f}", *_gains(bns)]
    return [str(bns.model), f"{bns.guidance:g}", *figures, *forwards]


def _gains(bns: pd.Series) -> list[str]:
    """Return the gains in the three measures: the first with its interval, the others marked where that includes zero."""
    first = f"{bns.psnr_gain:+.1f} ({bns.psnr_gain_low:.1f} to {bns.psnr_gain_high:.1f})"
    further = GAINS[1:]
    marks = ["" if bns[f"{measure}_gain_low"] > 0 else " ≈" for measure in further]
    return [first, *(f"{bns[f'{measure}_gain']:+.1f}{mark}" for measure, mark in zip(further, marks, strict=True))]


def _rule(row: pd.Series) -> str:
    """Return which rule the solver "tuned" has chosen."""
    if row.solver != "tuned":
        return ""
    return f" (`{row['rule']}`)" if isinstance(row.get("rule"), str) else ""


def leads() -> str:
    """Return in how many columns bns has the best value of each measure, and in how many another is tied with it."""
    found = board("default")
    counts = {name: _lead(found, measure) for measure, name in MEASURES.items()}
    lines = [[name, f"{first} of {columns}", f"{tied} of {columns}"] for name, (first, tied, columns) in counts.items()]
    return _table(("columns in which `bns`", "has the best value", "cannot be told from another"), lines)


def _lead(found: pd.DataFrame, measure: str) -> tuple[int, int, int]:
    columns = _columns(found, measure)
    marks = [rows.set_index("solver")[f"{measure}_standing"] for rows in columns]
    first = sum(standing["bns"] == "best" for standing in marks)
    tied = sum(bool((standing.drop("bns") == "tied").any()) and standing["bns"] == "best" for standing in marks)
    return first, tied, len(columns)


def _columns(found: pd.DataFrame, measure: str) -> list[pd.DataFrame]:
    """Return the rows of every column of a leaderboard in which the measure is there."""
    return [rows for _, rows in found.dropna(subset=measure).groupby(["model", "guidance", "nfe"])]


def matrix() -> str:
    """Return all solvers and NFE for the digits network at w = 2, the best on average first."""
    found = board("default")
    rows = found[(found.model == "digits-ot") & (found.guidance == 2)]
    return _table(("solver", *(f"NFE {n}" for n in BUDGETS)), _by_solver(rows, BUDGETS))


def learned() -> str:
    """Return all learned families for the digits network at w = 2, with what they cost at 8 NFE."""
    found = board("learned")
    return _with_costs(found[(found.model == "digits-ot") & (found.guidance == 2)], (4, 6, 8, 10))


def _with_costs(rows: pd.DataFrame, budgets: tuple[int, ...]) -> str:
    costs = rows[rows.nfe == 8].set_index("solver").train_forwards
    lines = [[*line, _forwards(costs[line[0].strip("`")])] for line in _by_solver(rows, budgets)]
    return _table(("solver", *(f"NFE {n}" for n in budgets), "forwards at 8"), lines)


def galaxies() -> str:
    """Return all solvers for the network of an installed package, with what they cost at 8 NFE."""
    return _with_costs(board("galaxies"), (4, 6, 8, 12))


def families() -> str:
    """Return who has the best value of each measure among learned families, and where bns is behind for certain."""
    found = board("learned")
    lines = []
    for measure, name in MEASURES.items():
        marks = [rows.set_index("solver")[f"{measure}_standing"] for rows in _columns(found, measure)]
        best = pd.Series([standing[standing == "best"].index[0] for standing in marks]).value_counts()
        behind = sum(standing["bns"] not in ("best", "tied") for standing in marks)
        leaders = ", ".join(f"`{solver}` {count}" for solver, count in best.items())
        lines.append([name, leaders, f"{behind} of {len(marks)}"])
    return _table(("measure", "columns with the best value", "`bns` behind for certain"), lines, left=(0, 1))


def _forwards(count: float) -> str:
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count / 1e3:.0f} k"


def _by_solver(rows: pd.DataFrame, budgets: Iterable[int]) -> list[list[str]]:
    values = rows.pivot_table(index="solver", columns="nfe", values="psnr", dropna=False)
    best = values.max()
    order = (best - values).mean(axis=1).sort_values().index
    return [[f"`{name}`", *(_entry(values.loc[name, n], best[n]) for n in budgets)] for name in order]


def _entry(value: float, best: float) -> str:
    return "-" if pd.isna(value) else f"**{value:.1f}**" if value == best else f"{value:.1f}"


def costs() -> str:
    """Return what the default trainer costs beside the published recipe, and beside Adam at the best of several rates."""
    found, by_adam = (pd.read_csv(ROOT / f"results/training/{name}.csv") for name in ("costs", "adam"))
    head: tuple[str, ...] = ("field", "w", "NFE", "best tuned classic", "greedy start", "published recipe", "Adam", "`bns`")
    head += ("recipe: evaluations", "of Adam", "of `bns`", "`bns` to the recipe's PSNR", "share", "share up to 0.1 dB below")
    lines = []
    for _, row in found[found.seed == 0].iterrows():
        same = (by_adam.model == row.model) & (by_adam.guidance == row.guidance) & (by_adam.nfe == row.nfe)
        adam = by_adam[same & (by_adam.seed == 0)]
        mark = "" if row.kind == "full" else "†"
        figures = [f"{row.classic_psnr:.1f}", f"{row.greedy_psnr:.1f}", f"{row.paper_psnr:.1f}{mark}"]
        figures += [f"{psnr:.1f}" for psnr in adam.adam_psnr] or ["-"]
        spent = [
            f"{row.paper_evaluations / 1e6:.2f} M",
            *([f"{each / 1e6:.2f} M" for each in adam.adam_evaluations] or ["-"]),
        ]
        spent.append(f"{row.bns_evaluations / 1e3:.0f} k")
        reached = row.bns_evaluations_to_paper_psnr
        spent.append("not reached" if pd.isna(reached) else f"{reached / 1e3:.0f} k")
        spent += ["-" if pd.isna(share) else f"{100 * share:.1f} %" for share in (row.share_of_full, row.share_of_early)]
        lines.append([row.model, f"{row.guidance:g}", str(row.nfe), *figures, f"{row.bns_psnr:.1f}", *spent])
    return _table(head, lines)


def _fields(found: pd.DataFrame, nfe: int) -> Iterable[tuple[object, pd.DataFrame]]:
    return found[found.nfe == nfe].groupby(["model", "guidance"], sort=False)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], left: Iterable[int] = (0,)) -> str:
    columns = list(head)
    rule = ["---" if index in left else "---:" for index in range(len(columns))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [columns, rule, *map(list, rows)])


def shipped() -> str:
    """Return what the shipped tables reach on their validation noise, and the forwards that each took by itself."""
    budgets = sorted({nfe for shipment in SHIPMENTS for nfe in shipment.nfe})
    lines = []
    for shipment in SHIPMENTS:
        entries = dict.fromkeys(budgets, "")
        for nfe in shipment.nfe:
            record = SolverArtefact.load(shipped_file(shipment.model, shipment.guidance, "bns", nfe)).training
            spent = sum(record.get("own_forwards", record["forwards"]).values())
            entries[nfe] = f"{record['psnr']:.1f} ({spent / 1e3:.0f} k)"
        lines.append([f"`{shipment.model}`", f"{shipment.guidance:g}", *entries.values()])
    return _table(("model", "w", *(f"NFE {nfe}" for nfe in budgets)), lines)


def requirements() -> str:
    """Return what the package needs, from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [(each, "always") for each in project["dependencies"]]
    found += [(each, f"`[{extra}]`") for extra, those in project.get("optional-dependencies", {}).items() for each in those]
    rows = [[f"`{each}`", when, _use(each)] for each, when in [(f"python{project['requires-python']}", "always"), *found]]
    return _table(("package", "installed", "for"), rows, left=(0, 1, 2))


USES = {
    "python": "",
    "filelock": "one writer of a cached file at a time",
    "matplotlib": "pictures of results and tables",
    "numpy": "arrays",
    "pandas": "leaderboards",
    "pillow": "pictures of samples, images as data",
    "platformdirs": "where the cache folder lies",
    "pluggy": "plugins",
    "pydantic": "suite files",
    "rich": "tables and progress on a terminal",
    "safetensors": "weights, read without pickle",
    "scikit-learn": "the digits data, nearest neighbours",
    "scipy": "interpolation, statistics, spectra",
    "tabulate": "text, Markdown and LaTeX tables",
    "torch": "everything that computes",
    "torch-fidelity": "Inception-v3 for `fid`",
    "torchaudio": "sound",
    "torchdiffeq": "ground truth",
    "torchmetrics": "metrics of sound and images",
    "torchvision": "images",
    "typer": "the command line",
}
"""What the dependencies are for."""


def _use(requirement: str) -> str:
    name = re.match(r"[\w.-]+", requirement)
    return USES.get(name[0].lower(), "") if name else ""


def tolerances() -> str:
    """Return what `bnsbench verify` compares, and how far off it may be."""
    from bnsbench.report.agreement import TOLERANCES

    return _table(("compared", "may differ by"), TOLERANCES, left=(0, 1))


TABLES: dict[str, Callable[[], str]] = {
    "headline": headline,
    "leads": leads,
    "matrix": matrix,
    "learned": learned,
    "families": families,
    "galaxies": galaxies,
    "costs": costs,
    "shipped": shipped,
    "requirements": requirements,
    "tolerances": tolerances,
    "commands": commands.overview,
    "options": commands.reference,
    "plans": plan_tables.plans,
    **paper_tables.TABLES,
}

_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n\n)(.*?)(\n*<!-- end -->)", re.DOTALL)


def blocks(text: str) -> dict[str, str]:
    """Return the tables that a page holds, by name."""
    return {name: body for _, name, body, _ in _BLOCK.findall(text)}


def pages() -> list[Path]:
    """Return all pages that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> None:
    """Write every table and picture anew."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        page.write_text(_BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n\n<!-- end -->", text), encoding="utf-8")
    architecture.main()


if __name__ == "__main__":
    main()
