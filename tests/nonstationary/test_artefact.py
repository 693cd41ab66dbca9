from __future__ import annotations

import errno
import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch

from bnsbench.errors import CorruptFileError, NotApplicableError, UsageError
from bnsbench.flows.paths import VP, CondOT, Cosine, DiscreteVP, Preconditioned
from bnsbench.models.shipped_files import SOLVERS
from bnsbench.nonstationary.artefact import SCHEMA, SolverArtefact, exportable, load_solver
from bnsbench.nonstationary.table import NonStationarySolver
from tests.training.toys import random_split_table


def artefact(path=None, **changes):
    generator = torch.Generator().manual_seed(1)
    b = torch.randn(3, 3, generator=generator, dtype=torch.float64).tril()
    solver = NonStationarySolver(torch.tensor([0.0, 0.1, 0.7, 0.999]), torch.rand(3, generator=generator), b)
    parts = {
        "solver": solver,
        "path": path or CondOT(),
        "interval": (0.0, 0.999),
        "model": "digits",
        "fingerprint": "ab12",
        "guidance": 2.5,
        "name": "bns[init=euler]",
        "training": {"forwards": {"teacher": 3, "training": 4, "validation": 5}, "curve": [[1, 20.5]]},
    }
    return SolverArtefact(**{**parts, **changes})


@pytest.mark.parametrize(
    "path", [CondOT(), Cosine(), VP(0.2, 15.0), DiscreteVP.linear(timesteps=10), Preconditioned(CondOT(), 5.0)]
)
def test_a_file_keeps_everything(tmp_path, path):
    saved = artefact(path)
    saved.save(tmp_path / "deep" / "solver.json")
    found = SolverArtefact.load(tmp_path / "deep" / "solver.json")
    assert found.to_dict() == saved.to_dict()
    assert found.solver.fingerprint() == saved.solver.fingerprint()
    assert (found.path, found.interval) == (path, (0.0, 0.999))
    assert found.training == saved.training
    assert load_solver(tmp_path / "deep" / "solver.json").fingerprint() == saved.solver.fingerprint()


@pytest.mark.parametrize("file", sorted(SOLVERS.glob("*_w0_bns_nfe4.json")), ids=lambda file: file.stem)
def test_a_file_that_was_written_before_is_written_again_byte_by_byte(tmp_path: Path, file: Path) -> None:
    SolverArtefact.load(file).save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "change", [{"guidance": float("inf")}, {"guidance": (1.0, float("nan"))}, {"interval": (0.0, float("inf"))}]
)
def test_numbers_that_json_lacks_are_refused_where_they_mean_something(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        artefact(**change).save(tmp_path / "solver.json")
    assert not list(tmp_path.iterdir())


def test_numbers_that_json_lacks_become_null(tmp_path):
    artefact(training={"psnr": float("inf"), "curve": [(1, float("nan"))]}).save(tmp_path / "solver.json")
    assert SolverArtefact.load(tmp_path / "solver.json").training == {"psnr": None, "curve": [[1, None]]}


def test_writing_leaves_only_the_file(tmp_path):
    for _ in range(2):
        artefact().save(tmp_path / "solver.json")
    assert [file.name for file in tmp_path.iterdir()] == ["solver.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    artefact().save(tmp_path / "solver.json")
    before = (tmp_path / "solver.json").read_bytes()

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        artefact(training={"seed": 7}).save(tmp_path / "solver.json")
    assert (tmp_path / "solver.json").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["solver.json"]


def test_a_newer_schema_asks_for_an_upgrade(tmp_path):
    file = tmp_path / "solver.json"
    file.write_text(json.dumps({**artefact().to_dict(), "schema": SCHEMA + 1}))
    with pytest.raises(UsageError, match=rf"solver\.json cannot be used: It has schema {SCHEMA + 1}.*upgrade bnsbench"):
        SolverArtefact.load(file)


@pytest.mark.parametrize("missing", sorted(artefact().to_dict()))
def test_a_missing_entry_is_damage(tmp_path, missing):
    description = artefact().to_dict()
    del description[missing]
    (tmp_path / "solver.json").write_text(json.dumps(description))
    with pytest.raises(CorruptFileError, match=r"solver\.json"):
        SolverArtefact.load(tmp_path / "solver.json")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe\x00", pickle.dumps({"schema": 1}), b'{"schema": "1"}']
)
def test_other_content_is_damage(tmp_path, content):
    (tmp_path / "solver.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"solver\.json"):
        SolverArtefact.load(tmp_path / "solver.json")


@pytest.mark.parametrize(
    "change",
    [
        {"path": {"name": "nowhere"}},
        {"interval": [0.0]},
        {"interval": None},
        {"guidance": "much"},
        {"solver": {"times": [0, 1], "a": [1], "b": [[1, 1]]}},
        {"training": 3},
        {"training": [1]},
        {"path": 3},
        {"path": {}},
        {"path": {"name": ["condot"]}},
        {"path": {"name": "vp", "beta_min": "x"}},
        {"path": {"name": "discrete-vp", "alphas_cumprod": [[1]]}},
        {"interval": [1.0, 0.0]},
        {"interval": [0.0, True]},
        {"interval": {"0": 1}},
        {"guidance": None},
        {"guidance": True},
        {"guidance": []},
        {"guidance": [[1.0]]},
        {"guidance": "2.5"},
        {"name": 3},
        {"model": None},
        {"fingerprint": ["ab"]},
    ],
)
def test_entries_without_meaning_are_damage(tmp_path, change):
    (tmp_path / "solver.json").write_text(json.dumps({**artefact().to_dict(), **change}))
    with pytest.raises(CorruptFileError):
        SolverArtefact.load(tmp_path / "solver.json")


def table(**changes):
    numbers = {"times": [0.0, 0.5, 1.0], "a": [1.0, 1.0], "b": [[0.5], [0.5, 0.5]]}
    return {**numbers, **changes}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"b": [[0.5], [0.5]]}, "row 1 of b is no list of 2 numbers"),
        ({"b": [[0.5], [0.5, 0.5, 0.0]]}, "row 1 of b is no list of 2 numbers"),
        ({"b": [[0.5, 1.0], [0.5, 0.5]]}, "b is not lower triangular"),
        ({"b": [[0.5], 3]}, "row 1 of b"),
        ({"b": [[0.5]]}, "b is no list of 2 numbers"),
        ({"b": 3}, "b is no list of 2 numbers"),
        ({"b": {"0": [1]}}, "b is no list"),
        ({"b": [[None], [0.5, 0.5]]}, "some entries are no numbers"),
        ({"b": [["0.5"], [0.5, 0.5]]}, "some entries are no numbers"),
        ({"b": [[[0.5]], [0.5, 0.5]]}, "some entries are no numbers"),
        ({"b": [[True], [0.5, 0.5]]}, "some entries are no numbers"),
        ({"b": [[10**400], [0.5, 0.5]]}, "int too large"),
        ({"a": [1.0]}, "times is no list of 2 numbers"),
        ({"a": []}, "times is no list of 1 numbers"),
        ({"a": "ab"}, "a is no list"),
        ({"a": 3}, "object of type 'int' has no len"),
        ({"times": [0.0, 1.0]}, "times is no list of 3 numbers"),
        ({"times": [0.0, float("nan"), 1.0]}, "some are not finite"),
        ({"times": [0.0, 2.0, 1.0]}, "a time lies outside"),
        ({"c": [[0.5], [0.5, 0.5]]}, "c and guidance go together"),
        ({"c": [[0.5]], "guidance": 2.0}, "c is no list of 2 numbers"),
        ({"guidance": "x"}, "could not convert"),
    ],
)
def test_tables_of_other_numbers_are_damage(change, said):
    with pytest.raises(CorruptFileError, match=f"^This is no description of a non-stationary solver: .*{said}"):
        NonStationarySolver.from_dict(table(**change))


@pytest.mark.parametrize("description", [None, 3, [], "table", {}])
def test_no_table_is_damage(description):
    with pytest.raises(CorruptFileError):
        NonStationarySolver.from_dict(description)


def test_full_rows_are_read_as_well():
    assert NonStationarySolver.from_dict(table(b=[[0.5, 0.0], [0.5, 0.5]])).to_dict() == table()


def test_a_small_file_takes_no_large_memory(tmp_path):
    """A table of 12,000 evaluations would have 1.2 GB, and this file says 12,000 numbers of each kind."""
    n = 12_000
    numbers = {"times": [0] * n + [1], "a": [1] * n, "b": [[1]] * n}
    (tmp_path / "solver.json").write_text(json.dumps({**artefact().to_dict(), "solver": numbers}))
    readers = (SolverArtefact.load, load_solver)
    for read in readers:
        tracemalloc.start()
        with pytest.raises(CorruptFileError, match="row 1 of b is no list of 2 numbers"):
            read(tmp_path / "solver.json")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 20 * (tmp_path / "solver.json").stat().st_size


def test_no_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        load_solver(tmp_path / "absent.json")


def test_loading_the_solver_alone_needs_nothing_else_of_the_file(tmp_path: Path) -> None:
    table = NonStationarySolver(*(torch.tensor(values, dtype=torch.float64) for values in ([0.0, 1.0], [1.0], [[1.0]])))
    file = tmp_path / "bare.json"
    file.write_text(json.dumps({"schema": 2, "solver": table.to_dict(), "path": {"name": "unheard of"}}))
    assert load_solver(file).fingerprint() == table.fingerprint()
    file.write_text(json.dumps({"solver": table.to_dict()}))
    with pytest.raises(CorruptFileError, match="has no schema number"):
        load_solver(file)
    with pytest.raises(UsageError, match=r"nowhere\.json cannot be read"):
        load_solver(tmp_path / "nowhere.json")


def split_artefact(**changes):
    return artefact(solver=random_split_table(3, guidance=2.5), interval=(0.0, 1.0), **changes)


def test_a_split_table_is_written_as_the_newest_schema_and_others_as_before(tmp_path: Path) -> None:
    saved = split_artefact()
    saved.save(tmp_path / "split.json")
    described = json.loads((tmp_path / "split.json").read_text())
    assert (described["schema"], artefact().to_dict()["schema"]) == (SCHEMA, 2) == (3, 2)
    assert [len(row) for row in described["solver"]["c"]] == [1, 2, 3]
    assert described["solver"]["guidance"] == 2.5
    found = SolverArtefact.load(tmp_path / "split.json")
    assert found.to_dict() == saved.to_dict()
    assert found.solver.fingerprint() == saved.solver.fingerprint()
    table = load_solver(tmp_path / "split.json")
    assert (table.guidance, table.fingerprint()) == (2.5, saved.solver.fingerprint())


@pytest.mark.parametrize("schema", [1, 2])
def test_older_files_are_read(tmp_path: Path, schema: int) -> None:
    (tmp_path / "old.json").write_text(json.dumps({**artefact().to_dict(), "schema": schema}))
    assert SolverArtefact.load(tmp_path / "old.json").solver.guidance is None


@pytest.mark.parametrize("guidance", [2.0, (2.5, 1.0), 0.0])
def test_a_split_table_is_for_its_own_guidance(guidance: float | tuple[float, ...], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="but the solver is said to be for"):
        split_artefact(guidance=guidance)
    described = split_artefact().to_dict()
    described["guidance"] = list(guidance) if isinstance(guidance, tuple) else guidance
    (tmp_path / "wrong.json").write_text(json.dumps(described))
    with pytest.raises(CorruptFileError):
        SolverArtefact.load(tmp_path / "wrong.json")


def test_a_split_table_is_nothing_to_export() -> None:
    plain = artefact()
    assert exportable(plain) is plain
    with pytest.raises(NotApplicableError, match="only their mixture"):
        exportable(split_artefact())
