"""Files that a results folder has for people: leaderboards, pictures, and the hashes of all files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bnsbench.contract.sources import BUILTIN
from bnsbench.errors import UsageError
from bnsbench.report.leaderboard import TIMINGS, leaderboard
from bnsbench.report.measures import PSNR
from bnsbench.report.tables import csv, markdown
from bnsbench.report.versions import settled_records
from bnsbench.suite.store import ResultStore, storage_errors, write_text
from bnsbench.suite.suitefile import read_suite

CSV = "leaderboard.csv"
MARKDOWN = "leaderboard.md"
PICTURE, PROFILE = "psnr", "profile"
SUMS = "SHA256SUMS"
SEAL = "SEAL"
"""The file that `bnsbench.report.seal` writes over all others."""


def read_leaderboard(store: ResultStore) -> pd.DataFrame:
    """Return the leaderboard of a results folder; CorruptFileError for a damaged record.

    ``frame.attrs["notes"]`` has a sentence for every model and metric of which records come from several versions.
    """
    records, notes = settled_records(store)
    frame = leaderboard(records, planned_metrics(store))
    frame.attrs["notes"] = notes
    return frame


def planned_metrics(store: ResultStore) -> list[str]:
    """Return the metrics that the suite of a results folder names; none if it cannot be read."""
    try:
        entries = read_suite(store.suite_file).full_entries()
    except UsageError:
        return []
    return [name.removeprefix(f"{BUILTIN}/") for entry in entries for name in entry.metrics or ()]


def write_reports(store: ResultStore) -> pd.DataFrame:
    """Write leaderboard.csv, leaderboard.md, psnr and profile (.png, .svg) and SHA256SUMS, and return the leaderboard.

    A picture is drawn only if it is missing or the numbers have changed, and a profile only where several solvers reach the
    same PSNRs in several fields. StorageError if the folder cannot be written.
    """
    frame = read_leaderboard(store)
    text = csv(frame)
    stale = _without_timings(text) != _without_timings(_read(store.folder / CSV))
    write_text(store.folder / CSV, text)
    write_text(store.folder / MARKDOWN, markdown(frame))
    if PSNR in frame.columns and frame[PSNR].notna().any():
        _draw(frame, store.folder, stale)
    write_text(store.folder / SUMS, sums(store.folder))
    return frame


def _draw(frame: pd.DataFrame, folder: Path, stale: bool) -> None:
    """Draw the pictures that are missing, or all if they are ``stale``."""
    wanted = [name for name in (PICTURE, PROFILE) if stale or not _picture_exists(folder, name)]
    if not wanted:
        return
    from bnsbench.report.plots import draw_metric, draw_profile  # noqa: PLC0415 (matplotlib is slow to import)

    with storage_errors(folder):
        for name in wanted:
            (draw_metric if name == PICTURE else draw_profile)(frame, PSNR, folder / name)


def sums(folder: Path) -> str:
    """Return the SHA-256 of every file in the folder, in the format of sha256sum."""
    found = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files(folder)}
    return "".join(f"{digest}  {name}\n" for name, digest in found.items())


def files(folder: Path) -> Iterator[Path]:
    """Yield the files in a results folder, sorted, but for SHA256SUMS itself, its seal, previews and temporary ones."""
    previews, own = ResultStore(folder).previews, (folder / SUMS, folder / SEAL)
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file not in own and not file.name.startswith(".") and previews not in file.parents:
            yield file


def _picture_exists(folder: Path, name: str) -> bool:
    return all((folder / f"{name}.{suffix}").is_file() for suffix in ("png", "svg"))


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _without_timings(text: str) -> list[str]:
    # The timings are the last columns and never contain a comma.
    return [line.rsplit(",", len(TIMINGS))[0] for line in text.splitlines()]
