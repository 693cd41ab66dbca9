from __future__ import annotations

import subprocess
from types import SimpleNamespace

import pytest

from bnsbench.report.results import sums, write_reports
from bnsbench.suite.store import ResultStore

VALUES = {("euler", 4): (20.0, 1.0), ("ab2", 4): (25.0, 1.0), ("bns", 4): (30.0, 1.0), ("rk4", 4): None}


def cells_of(records):
    """Return what a store asks of the records' cells."""
    return [SimpleNamespace(key=record.key) for record in records]


@pytest.fixture
def store(make_records, tmp_path):
    store = ResultStore(tmp_path / "made")
    records = make_records(VALUES)
    store.begin("", cells_of(records))
    for record in records:
        store.write(record)
    return store


def test_everything_is_written_and_listed_for_sha256sum(store):
    frame = write_reports(store)
    names = {file.name for file in store.folder.iterdir() if file.is_file()}
    assert names == {"suite.toml", "plan.json", "leaderboard.csv", "leaderboard.md", "psnr.png", "psnr.svg", "SHA256SUMS"}
    assert len((store.folder / "leaderboard.csv").read_text().splitlines()) == len(frame) + 1
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=store.folder, check=True)


def test_same_records_write_the_same_bytes(store):
    write_reports(store)
    before = {file: file.read_bytes() for file in store.folder.iterdir() if file.is_file()}
    for file in before:
        if file.name.startswith(("psnr", "leaderboard", "SHA")):
            file.unlink()
    write_reports(store)
    assert {file: file.read_bytes() for file in store.folder.iterdir() if file.is_file()} == before


def test_picture_is_not_drawn_again_without_need(store, monkeypatch):
    write_reports(store)
    monkeypatch.setattr("bnsbench.report.plots.draw_metric", lambda *arguments: pytest.fail("drawn"))
    write_reports(store)


def test_temporary_files_are_not_listed(store):
    (store.cells / ".half.json.1.tmp").write_text("{")
    assert "half" not in sums(store.folder)


def test_timings_are_no_part_of_the_results(store):
    before = sums(store.folder)
    store.timings_file.write_text("{}")
    assert sums(store.folder) == before


def test_profile_lies_beside_the_picture(make_records, tmp_path):
    store = ResultStore(tmp_path / "made")
    values = {(solver, n): (20.0 + n + k, 1.0) for k, solver in enumerate(("euler", "ab2", "bns")) for n in (4, 8)}
    records = [*make_records(values, models=("ring8", "aniso5")), *make_records(values, seed=1)]
    store.begin("", cells_of(records))
    for record in records:
        store.write(record)
    write_reports(store)
    assert {"profile.png", "profile.svg", "psnr.png", "psnr.svg"} <= {file.name for file in store.folder.iterdir()}
    assert "profile.svg" in (store.folder / "SHA256SUMS").read_text()
    (store.folder / "profile.svg").unlink()
    before = (store.folder / "psnr.png").stat().st_mtime_ns
    write_reports(store)
    assert (store.folder / "profile.svg").is_file()
    assert (store.folder / "psnr.png").stat().st_mtime_ns == before
