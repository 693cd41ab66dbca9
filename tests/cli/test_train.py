"""``bnsbench train``, with the true trainer at its smallest and with a stand-in that shows what it is given."""

from __future__ import annotations

import pytest

from bnsbench.nonstationary.artefact import SolverArtefact

STAND_IN = """
from bnsbench.hookspecs import hookimpl
from bnsbench.specs import Budgets, SolverSpec

@hookimpl
def bnsbench_solvers():
    yield SolverSpec("copy", ":train", kind="trained", budgets=Budgets(2, 2), parameters={"rule": "midpoint"})

def train(problem, nfe, rule):
    from bnsbench.nonstationary.artefact import SolverArtefact
    from bnsbench.nonstationary.tracing import trace
    from bnsbench.solvers import runge_kutta
    from bnsbench.training.problem import TrainingStatus

    source = problem.source
    below = problem.previous(nfe - 2).solver.nfe if nfe > 2 else 0
    assert below == 0 or problem.previous(nfe - 2) is problem.previous(nfe - 2)
    problem.report(TrainingStatus(nfe, "copying", 1, 1, 12.5))
    table = trace(lambda field, x0: getattr(runge_kutta, rule)(field, x0, nfe), source.model.path, source.model.interval)
    record = {"below": below, "seed": source.seed, "psnr": 12.5}
    names = source.model.fingerprint(), source.guidance, f"copy[rule={rule}]"
    return SolverArtefact(table, source.model.path, source.model.interval, source.name, *names, record)
"""


@pytest.fixture(autouse=True)
def _stand_in(tmp_path):
    (tmp_path / "copy.py").write_text(STAND_IN)


def standings(text: str) -> dict[str, float]:
    lines = text.splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("solver "))
    return {line.split()[0]: float(line.split()[1]) for line in lines[header + 1 :]}


def test_what_a_trainer_is_given(bnsbench, tmp_path):
    common = ("--solver", "copy[rule=heun]", "--seed", 7, "--plugin", "copy.py", "--output", "deep/copy.json")
    done = bnsbench("train", "ring8", "--nfe", 6, *common)
    assert done.code == 0
    artefact = SolverArtefact.load(tmp_path / "deep" / "copy.json")
    assert (artefact.solver.nfe, artefact.model, artefact.name) == (6, "ring8", "copy[rule=heun]")
    assert artefact.training == {"below": 4, "seed": 7, "psnr": 12.5}
    assert "6 NFE: copying 1/1, 12.50 dB" in done.err


def test_standings_are_sorted_and_like_for_like(bnsbench):
    done = bnsbench("train", "ring8", "--nfe", 4, "--solver", "copy", "--plugin", "copy.py", "-o", "copy.json", "--quiet")
    assert done.err == ""
    table = standings(done.out)
    assert table["copy[rule=midpoint]"] == table["midpoint"]
    assert list(table.values()) == sorted(table.values(), reverse=True)
    assert {"euler", "midpoint", "rk4", "dpm++2m"} <= set(table)


def test_classics_that_cannot_spend_the_budget_are_left_out(bnsbench):
    done = bnsbench("train", "ring8", "--nfe", 6, "--solver", "copy", "--plugin", "copy.py", "-o", "copy.json", "--quiet")
    assert "rk4" not in standings(done.out)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--nfe", 4, "--solver", "euler"), "'euler' is not a trained one"),
        (("--nfe", 3, "--solver", "copy"), "'copy' spends 2, 4, 6, ... evaluations, not 3"),
        (("--nfe", 4, "--solver", "copy[role=heun]"), "did you mean 'rule'?"),
        (("--nfe", 4, "--dtype", "float8"), "float8"),
        (("--nfe", "four"), "--nfe"),
    ],
)
def test_misuse(bnsbench, arguments, sentence):
    done = bnsbench("train", "ring8", *arguments, "--plugin", "copy.py", "--output", "copy.json")
    assert done.code == 2
    assert sentence in done.err


def test_output_must_not_be_a_folder(bnsbench, tmp_path):
    done = bnsbench("train", "ring8", "--nfe", 4, "--output", tmp_path)
    assert done.code == 2
    assert "is a folder" in done.err


def test_bns_beats_the_classics(bnsbench, tmp_path):
    done = bnsbench("train", "aniso5", "--nfe", 4, "--solver", "bns[pairs=128,iterations=4]", "-o", "bns.json", "--quiet")
    assert done.code == 0
    table = standings(done.out)
    name = SolverArtefact.load(tmp_path / "bns.json").name
    assert next(iter(table)) == name
    assert table[name] > table["midpoint"] + 3
