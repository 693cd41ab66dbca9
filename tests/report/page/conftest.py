"""Results made up for pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bnsbench.report.results import CSV, SUMS, read_leaderboard, sums
from bnsbench.report.tables import csv
from bnsbench.suite.plan import Cell
from bnsbench.suite.store import ResultStore, write_text
from tests.report.page.made import PSNRS, Node, Reader, add_previews, made_artefact, made_record


@pytest.fixture
def made_results(tmp_path) -> Callable[..., ResultStore]:
    """Return a results folder with these records, its leaderboard and its hashes."""

    def make(records, name="small", suite='name = "small"\n', environment=None) -> ResultStore:
        store = ResultStore(tmp_path / name)
        store.begin(suite, [cast("Cell", SimpleNamespace(key=record.key)) for record in records])
        for record in records:
            store.write(record)
        if environment is not None:
            store.write_environment(environment)
        write_text(store.folder / CSV, csv(read_leaderboard(store)))
        write_text(store.folder / SUMS, sums(store.folder))
        return store

    return make


@pytest.fixture
def records():
    """Records of five solvers of four kinds, for a model under two guidance scales and another that makes sounds."""
    found = []
    for model, guidance, below in (("ring8", 0.0, 0.0), ("ring8", 2.0, 3.25), ("voices", 0.0, 5.5)):
        for (solver, kind), values in PSNRS.items():
            file = f"bns-{model}-{guidance:g}.json" if solver == "bns" and model == "ring8" else ""
            found += [
                made_record(solver, n, psnr - below, model=model, guidance=guidance, kind=kind, file=file if n == 8 else "")
                for n, psnr in values.items()
            ]
    return found


@pytest.fixture
def results(made_results, records):
    """A results folder with previews of pictures and sounds, and with trained tables."""
    environment = {"bnsbench": "0.1.0", "code": "abc", "python": "3.11", "packages": {"torch": "2.6"}, "plugins": {}}
    store = made_results(records, environment=environment)
    store.solvers.mkdir()
    for guidance in (0.0, 2.0):
        made_artefact(guidance).save(store.solvers / f"bns-ring8-{guidance:g}.json")
    write_text(store.folder / SUMS, sums(store.folder))
    add_previews(store, records)
    return store


@pytest.fixture
def read_page() -> Callable[[str], Node]:
    """Return the tree of a page, all of whose elements are closed where they should be."""

    def read(page: str) -> Node:
        reader = Reader()
        reader.feed(page)
        reader.close()
        assert reader.faults == []
        assert len(reader.open) == 1
        return reader.open[0]

    return read


@pytest.fixture
def page_file(results, tmp_path) -> Path:
    """Return the file of a page of the results."""
    from bnsbench.report.page.build import build_page

    file = tmp_path / "page.html"
    write_text(file, build_page([results]))
    return file
