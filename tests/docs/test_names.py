"""docs/reference/names.md lists all that can be written, and docs/reference/files.md all that a suite and a record hold."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import replace
from typing import get_args

from bnsbench.builtin import bnsbench_executors, bnsbench_reports, bnsbench_solvers, bnsbench_suites
from bnsbench.cli.options import Precision
from bnsbench.flows import paths
from bnsbench.flows.predictions import Prediction
from bnsbench.flows.sampled_path import Sampled
from bnsbench.models.mixtures import mixture_path
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.report.views import View
from bnsbench.solvers import grids
from bnsbench.suite.record import Record
from bnsbench.suite.suitefile import ModelEntry, Suite
from bnsbench.training import objectives
from bnsbench.training.problem import FEW_DIMENSIONS, Problem
from bnsbench.training.recipes.bns import LADDERS, LOW_RUNGS, train_bns
from tests.docs.replay import ROOT
from tests.training.toys import SMALL, bend, plane_source

PAGE = (ROOT / "docs/reference/names.md").read_text(encoding="utf-8")
FILES = (ROOT / "docs/reference/files.md").read_text(encoding="utf-8")


def section(heading: str, page: str = PAGE) -> str:
    return page.split(f"\n## {heading}\n")[1].partition("\n## ")[0]


def first_column(text: str) -> list[str]:
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_every_path_is_there_with_its_class():
    text = section("Paths")
    assert sorted(first_column(text)) == sorted([*paths._PATHS, Sampled.name])
    for name, kind in paths._PATHS.items():
        assert re.search(rf"^\| `{name}` \| `{kind.__name__}\(", text, re.MULTILINE)


def test_paths_of_mixtures_are_read():
    texts = re.findall(r"^\| `[\w-]+` \| `[^`]+` \| `([^`]+)`", section("Paths"), re.MULTILINE)
    assert {text.split(":")[0] for text in texts} == set(paths._PATHS) - {"preconditioned"}
    for text in (text.split(":")[0] for text in texts):
        mixture_path(text)
    mixture_path("edm:0.002:80")


def test_every_prediction_type_is_there():
    assert first_column(section("Prediction types")) == list(get_args(Prediction))


def test_every_grid_is_there():
    named = {text.split(":")[0] for text in re.findall(r"`([^`]+)`", section("Time grids"))}
    assert named >= {*grids._GRIDS, "best"}


def test_every_family_is_there_with_its_parameters():
    trained = [spec for spec in bnsbench_solvers() if spec.kind == "trained"]
    text = section("Trained solvers: families")
    own, shared = text.split("All families take these:")
    assert sorted(first_column(own)) == sorted(spec.name for spec in trained)
    common = first_column(shared)
    for spec in trained:
        row = next(line for line in own.splitlines() if line.startswith(f"| `{spec.name}` |"))
        assert re.findall(r"`(\w+)`", row.split("|")[3]) + common == list(spec.parameters)
    for name, default in re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", shared, re.MULTILINE):
        assert default == str(trained[0].parameters[name])


def test_ladders_are_there():
    text = " ".join(section("Trained solvers: families").split())
    assert all(f"`{name}`" in text for name in LADDERS)
    assert f"`standard` ({', '.join(map(str, LADDERS['standard']))} evaluations)" in text
    assert f"begins at {LOW_RUNGS[0]} for models of at most {FEW_DIMENSIONS} dimensions" in text


def test_every_objective_is_there():
    assert set(first_column(section("Objectives"))) == {*objectives.OBJECTIVES, "own"}


def test_executors_reports_views_suites_and_precisions_are_there():
    text = section("Executors, reports, suites")
    names = [spec.name for hook in (bnsbench_executors, bnsbench_reports, bnsbench_suites) for spec in hook()]
    names += [*get_args(View), *(each.value for each in Precision)]
    assert [name for name in names if not re.search(rf"`{name}[`\[]", text)] == []


def test_every_environment_variable_is_there():
    found = {
        name for file in (ROOT / "bnsbench").rglob("*.py") for name in re.findall(r"BNSBENCH_[A-Z_]+[A-Z]", file.read_text())
    }
    assert set(first_column(section("Environment variables"))) == found


def test_every_key_of_a_suite_is_there():
    whole, models = section("Suite files", FILES).split("A model is a selector")
    assert first_column(whole) == list(Suite.model_fields)
    assert sorted(first_column(models)) == sorted(ModelEntry.model_fields)
    for text, kind in ((whole, Suite), (models, ModelEntry)):
        required = re.findall(r"^\| `(\w+)` \| required", text, re.MULTILINE)
        assert set(required) == {name for name, each in kind.model_fields.items() if each.is_required()} - (
            {"name"} if kind is Suite else set()
        )


def test_every_entry_of_a_training_record_is_there():
    """But for those of networks below float32 and of split columns, which these are not."""
    problem = Problem(plane_source(bend), effort=SMALL)
    below = train_bns(problem, 4, ladder="none", pairs=32, iterations=1)
    above = train_bns(replace(problem, previous=lambda _: below), 5, ladder="every", pairs=32, iterations=1)
    assert set(first_column(section("The training record", FILES))) - {"precision_limit", "columns"} == set(above.training)


def test_every_entry_of_records_and_solver_files_is_there():
    assert set(first_column(section("Records", FILES))) - {"low", "high"} >= {
        each.name for each in dataclasses.fields(Record)
    }
    assert set(first_column(section("Solver files", FILES))) == {
        "schema",
        *(each.name for each in dataclasses.fields(SolverArtefact)),
    }
