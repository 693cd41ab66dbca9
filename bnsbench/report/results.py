"""Files that a results folder has for people: leaderboards, pictures, and the hashes of all files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd

from bnsbench.contract.sources import BUILTIN
from bnsbench.errors import BnsbenchError, CorruptFileError
from bnsbench.report.judging import judge_folder
from bnsbench.report.leaderboard import TIMINGS, table
from bnsbench.report.measures import PSNR
from bnsbench.report.tables import csv, markdown
from bnsbench.storage.files import make_way
from bnsbench.storage.strict_json import read_bounded
from bnsbench.suite.store import ResultStore, storage_errors, write_text
from bnsbench.suite.suitefile import read_suite

CSV = "leaderboard.csv"
MARKDOWN = "leaderboard.md"
PICTURE, PROFILE = "psnr", "profile"
ENDINGS = (".png", ".svg")
SUMS = "SHA256SUMS"
SEAL = "SEAL"
"""The file that `bnsbench.report.seal` writes over all others."""
SUM = re.compile(r"([0-9a-f]{64})  (.+)")


def read_leaderboard(store: ResultStore) -> pd.DataFrame:
    """Return the leaderboard of a results folder; of a damaged record there is a failed row that says so.

    ``frame.attrs["notes"]`` has a sentence for every model and metric of which records come from several versions, and one
    on a damaged plan.json.
    """
    judged, notes = judge_folder(store)
    frame = table(judged, planned_metrics(store))
    frame.attrs["notes"] = notes
    return frame


def planned_metrics(store: ResultStore) -> list[str]:
    """Return the metrics that the suite of a results folder names; none if it cannot be read."""
    try:
        entries = read_suite(store.suite_file).full_entries()
    except BnsbenchError:
        return []
    return [name.removeprefix(f"{BUILTIN}/") for entry in entries for name in entry.metrics or ()]


def write_reports(store: ResultStore) -> pd.DataFrame:
    """Write leaderboard.csv, leaderboard.md, psnr and profile (.png, .svg) and SHA256SUMS, and return the leaderboard.

    A picture stays only if it is the one that SHA256SUMS lists beside the leaderboard with these numbers; a profile is drawn
    only where several solvers reach the same PSNRs in several fields. StorageError if the folder cannot be written.
    """
    frame = read_leaderboard(store)
    text = csv(frame)
    listed = _unchanged(store.folder)
    stale = CSV not in listed or _without_timings(text) != _without_timings(_read(store.folder / CSV))
    write_text(store.folder / CSV, text)
    write_text(store.folder / MARKDOWN, markdown(frame))
    if PSNR in frame.columns and frame[PSNR].notna().any():
        _draw(frame, store.folder, set() if stale else listed)
    write_text(store.folder / SUMS, sums(store.folder))
    return frame


def _draw(frame: pd.DataFrame, folder: Path, current: Collection[str]) -> None:
    """Draw the pictures that are not among the files ``current``."""
    wanted = [name for name in (PICTURE, PROFILE) if not {f"{name}{ending}" for ending in ENDINGS} <= set(current)]
    if not wanted:
        return
    from bnsbench.report.plots import draw_metric, draw_profile  # noqa: PLC0415 (matplotlib is slow to import)

    with storage_errors(folder):
        for name in wanted:
            for ending in ENDINGS:
                make_way(folder / f"{name}{ending}")
            (draw_metric if name == PICTURE else draw_profile)(frame, PSNR, folder / name)


def sums(folder: Path) -> str:
    """Return the SHA-256 of every file in the folder, in the format of sha256sum."""
    found = {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files(folder)}
    return "".join(f"{digest}  {name}\n" for name, digest in found.items())


def files(folder: Path) -> Iterator[Path]:
    """Yield the files in a results folder, sorted, but SHA256SUMS, its seal, timings, previews and temporary ones."""
    store = ResultStore(folder)
    own = {(name,) for name in (SUMS, SEAL, store.timings_file.name)}
    for parts in sorted(_below(folder)):
        if parts not in own and parts[0] != store.previews.name:
            yield folder.joinpath(*parts)


def _below(folder: Path | str, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the names that lead to every file below a folder, but hidden ones."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _below(entry.path, (*above, entry.name))
            elif entry.is_file():
                yield (*above, entry.name)


def read_sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file that SHA256SUMS lists, by its name; CorruptFileError, with the reason alone."""
    try:
        lines = read_bounded(folder / SUMS).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise CorruptFileError("it is not UTF-8") from error
    found = [SUM.fullmatch(line) for line in lines if line]
    if None in found:
        raise CorruptFileError("it has lines that sha256sum does not write")
    return {line[2]: line[1] for line in found if line is not None}


def _unchanged(folder: Path) -> set[str]:
    """Return the files for people that are those whose hashes SHA256SUMS lists."""
    try:
        listed = read_sums(folder)
    except CorruptFileError:
        return set()
    names = [CSV, *(f"{name}{ending}" for name in (PICTURE, PROFILE) for ending in ENDINGS)]
    there = [name for name in names if name in listed and (folder / name).is_file()]
    return {name for name in there if hashlib.sha256((folder / name).read_bytes()).hexdigest() == listed[name]}


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def _without_timings(text: str) -> list[str]:
    # The timings are the last columns and never contain a comma.
    return [line.rsplit(",", len(TIMINGS))[0] for line in text.splitlines()]
