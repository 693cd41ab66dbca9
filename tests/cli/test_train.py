"""``bnsbench train``, with the true trainer at its smallest and with a stand-in that shows what it is given."""

from __future__ import annotations

import json
import re

import pytest

from bnsbench.nonstationary.artefact import SolverArtefact

STAND_IN = """
from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import Budgets, SolverSpec

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
    record = {"below": below, "seed": source.seed, "tolerance": source.truth_tolerance, "psnr": 12.5}
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
    common = ("--solver", "copy[rule=heun]", "--seed", 7, "--tolerance", 1e-3, "--plugin", "copy.py")
    done = bnsbench("train", "ring8", "--nfe", 6, *common, "--output", "deep/copy.json")
    assert done.code == 0
    artefact = SolverArtefact.load(tmp_path / "deep" / "copy.json")
    assert (artefact.solver.nfe, artefact.model, artefact.name) == (6, "ring8", "copy[rule=heun]")
    assert artefact.training == {"below": 4, "seed": 7, "tolerance": 1e-3, "psnr": 12.5}
    assert "6 NFE: copying 1/1, 12.50 dB" in done.err


def test_several_budgets_fill_a_folder_and_start_from_each_other(bnsbench, tmp_path):
    done = bnsbench("train", "ring8", "--nfe", "4-5,8", "--solver", "copy", "--plugin", "copy.py", "-o", "all")
    assert done.code == 2
    assert "'copy' spends 2, 4, 6, ... evaluations, not 5" in done.err
    done = bnsbench("train", "ring8", "--nfe", "4,6", "--solver", "copy", "--plugin", "copy.py", "-o", "all")
    assert done.code == 0
    found = {file.name: SolverArtefact.load(file) for file in (tmp_path / "all").iterdir()}
    assert {name: artefact.solver.nfe for name, artefact in found.items()} == {"copy_nfe4.json": 4, "copy_nfe6.json": 6}
    assert done.err.count("6 NFE: copying") == done.err.count("4 NFE: copying") == 1


def test_one_solver_for_several_guidance_scales(bnsbench, tmp_path):
    arguments = ("--nfe", 2, "--guidance", "0,2", "--weights", "1,3", "--solver", "bns[pairs=32,iterations=2]", "--quiet")
    done = bnsbench("train", "digits-gmm", *arguments, "-o", "both.json")
    assert done.code == 0
    assert SolverArtefact.load(tmp_path / "both.json").guidance == (0.0, 2.0)
    assert "at guidance 0, 2 and 2 NFE" in done.out
    header = next(line for line in done.out.splitlines() if line.startswith("solver "))
    assert "w = 0" in header
    assert "w = 2" in header


def test_choices_can_be_options(bnsbench, tmp_path):
    arguments = ("--init", "heun", "--objective", "mse", "--derivative", "difference", "--quiet")
    small = "bns[pairs=32,iterations=2]"
    done = bnsbench("train", "ring8", "--nfe", 4, "--parametrisation", small, *arguments, "-o", "b.json")
    assert done.code == 0
    artefact = SolverArtefact.load(tmp_path / "b.json")
    assert artefact.name == "bns[derivative=difference,init=heun,iterations=2,objective=mse,pairs=32]"
    assert artefact.training["start"]["name"] == "heun"
    assert artefact.training["derivative"] == "difference"
    again = bnsbench("train", "ring8", "--nfe", 6, "--init", "b.json", "--solver", small, "-o", "c.json")
    assert again.code == 0
    start = SolverArtefact.load(tmp_path / "c.json").training["start"]["name"]
    assert start.startswith("greedy on bns[")
    assert start.endswith("at 4 NFE for ring8 w=0")


def test_an_interrupted_training_goes_on_where_it_was(bnsbench, tmp_path, monkeypatch):
    from bnsbench.training.optimisers.selection import IterateSelection

    arguments = ("train", "ring8", "--nfe", 4, "--solver", "bns[pairs=64,iterations=6]", "-o", "bns.json")
    whole = bnsbench(*arguments)
    expected = SolverArtefact.load(tmp_path / "bns.json")
    (tmp_path / "bns.json").unlink()
    calls = []
    check = IterateSelection.check

    def interrupted(self, table, stage, iteration, total, damping=None):
        calls.append(iteration)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return check(self, table, stage, iteration, total, damping)

    monkeypatch.setattr(IterateSelection, "check", interrupted)
    stopped = bnsbench(*arguments)
    assert stopped.code == 130
    assert not (tmp_path / "bns.json").exists()
    monkeypatch.setattr(IterateSelection, "check", check)
    resumed = bnsbench(*arguments)
    found = SolverArtefact.load(tmp_path / "bns.json")
    assert (whole.code, resumed.code) == (0, 0)
    assert found.solver.fingerprint() == expected.solver.fingerprint()
    assert found.training["forwards"] == expected.training["forwards"]
    assert "Gauss-Newton 0/" not in resumed.err


def test_standings_are_sorted_and_like_for_like(bnsbench):
    done = bnsbench("train", "ring8", "--nfe", 4, "--solver", "copy", "--plugin", "copy.py", "-o", "copy.json", "--quiet")
    assert done.err == ""
    table = standings(done.out)
    assert table["copy"] < table["midpoint"]  # which stands on its best grid
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
        (("--nfe", "four"), "--nfe takes numbers"),
        (("--nfe", 4, "--tolerance", 0), "The tolerance must lie between 0 and 1, not 0"),
        (("--nfe", "0"), "at least one budget of 1 or more"),
        (("--nfe", 4, "--guidance", "high"), "--guidance takes numbers"),
        (("--nfe", 4, "--objective", "mse", "--solver", "copy"), "'copy' has no parameter 'objective'"),
        (("--nfe", 4, "--solver", "bns", "--objective", "best"), "There is no objective 'best'"),
        (("--nfe", 4, "--solver", "bns", "--optimiser", "sgd"), "There is no optimiser 'sgd'"),
        (("--nfe", 4, "--solver", "bns", "--init", "bns"), "is itself trained"),
        (("--nfe", 4, "--weights", "1,2"), "2 weights are given for 1 guidance scales"),
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


def test_json_has_files_costs_and_placings(bnsbench):
    arguments = ("--nfe", "4,6", "--solver", "bns[pairs=32,iterations=1]", "--quiet", "--json", "-o", "all")
    done = bnsbench("train", "ring8", *arguments)
    assert (done.code, done.err) == (0, "")
    first, second = json.loads(done.out)["solvers"]
    assert (first["nfe"], second["nfe"], second["file"]) == (4, 6, "all/bns_nfe6.json")
    assert first["seconds"] > 0
    assert first["forwards"]["training"] > 0
    means = [placing["psnr"][0] for placing in second["placings"]]
    assert means == sorted(means, reverse=True)
    assert {"bns[iterations=1,pairs=32]", "euler"} <= {placing["solver"] for placing in second["placings"]}


def test_forwards_and_seconds_are_told(bnsbench):
    done = bnsbench("train", "ring8", "--nfe", 4, "--solver", "bns[pairs=32,iterations=1]", "--quiet", "-o", "b.json")
    assert re.search(r"[\d,]+ network forwards, \d+\.\d seconds for this NFE", done.out)


def test_a_budget_is_kept_and_told(bnsbench, tmp_path):
    arguments = ("--nfe", 4, "--budget", "8k", "-o", "bns.json")
    done = bnsbench("train", "digits-gmm", *arguments)
    assert done.code == 0
    record = SolverArtefact.load(tmp_path / "bns.json").training
    assert 4_000 < sum(record["forwards"].values()) <= 8_000
    assert record["budget"]["spent"]["forwards"] == sum(record["forwards"].values())
    assert "training stopped: the budget of 8,000 forwards has no room for more" in done.out
    assert re.search(r"the last 0.1 dB took about [\d.]+( k)? forwards", done.out)
    assert re.search(r"\d\.\d\d of about 0.01 M forwards", done.err)
    table = standings(done.out)
    assert next(iter(table)) == "bns"


def test_a_budget_that_is_too_little_names_the_least(bnsbench):
    done = bnsbench("train", "digits-gmm", "--nfe", 4, "--budget", "300", "-o", "bns.json")
    assert done.code == 2
    (named,) = re.findall(r"takes ([\d,]+) forwards; that is the least", done.err)
    least = int(named.replace(",", ""))
    assert bnsbench("train", "digits-gmm", "--nfe", 4, "--budget", least - 1, "-o", "bns.json").code == 2
    done = bnsbench("train", "digits-gmm", "--nfe", 4, "--budget", least, "--quiet", "--json", "-o", "bns.json")
    assert done.code == 0
    (solver,) = json.loads(done.out)["solvers"]
    assert sum(solver["forwards"].values()) <= least


def test_an_interrupted_training_has_spent_what_it_had(bnsbench, tmp_path, monkeypatch):
    from bnsbench.training.optimisers.selection import IterateSelection

    arguments = ("train", "digits-gmm", "--nfe", 4, "--budget", "12k", "-o", "bns.json")
    assert bnsbench(*arguments).code == 0
    expected = SolverArtefact.load(tmp_path / "bns.json")
    check = IterateSelection.check

    def interrupted(self, table, stage, iteration, total, damping=None):
        if iteration == 3:
            raise KeyboardInterrupt
        return check(self, table, stage, iteration, total, damping)

    monkeypatch.setattr(IterateSelection, "check", interrupted)
    assert bnsbench(*arguments).code == 130
    monkeypatch.setattr(IterateSelection, "check", check)
    assert bnsbench(*arguments).code == 0
    found = SolverArtefact.load(tmp_path / "bns.json")
    assert found.solver.fingerprint() == expected.solver.fingerprint()
    assert found.training["forwards"] == expected.training["forwards"]


def test_an_estimate_trains_nothing_and_keeps_nothing(bnsbench, tmp_path):
    done = bnsbench("train", "digits-gmm", "--nfe", "4,12", "--guidance", 2, "--estimate", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"^digits-gmm: .* ms a forward, in batches of \d+; .* GiB", done.out)
    assert "12 NFE, after 8 NFE: about" in done.out
    for phase in ("ground truth", "start", "training", "validation"):
        assert re.search(rf"^{phase} +[\d,]+ ", done.out, re.MULTILINE)
    assert list(tmp_path.iterdir()) == [tmp_path / "copy.py"]
    done = bnsbench("train", "digits-gmm", "--nfe", 4, "--estimate", "--json", "-o", "bns.json")
    assert not (tmp_path / "bns.json").exists()
    (content,) = json.loads(done.out)["estimates"]
    assert (content["nfe"], content["rungs"]) == (4, [])


def test_without_an_estimate_there_is_an_output(bnsbench):
    done = bnsbench("train", "ring8", "--nfe", 4)
    assert done.code == 2
    assert "needs --output" in done.err


def test_a_bad_start_is_told_in_one_sentence(bnsbench, tmp_path):
    small = "bns[init=midpoint,pairs=16,iterations=1]"
    done = bnsbench("train", "ring8[path=vp]", "--nfe", 4, "--solver", small, "--quiet", "-o", "b.json")
    assert done.code == 0
    caution, multiplied = done.err.splitlines()  # on times that hardly differ, coefficients are large
    assert "'midpoint' is a classic solver, and these are 2 dimensions" in caution
    assert "times their size" in multiplied
    assert SolverArtefact.load(tmp_path / "b.json").training["notes"] == [caution]


def test_a_gain_ends_a_training_earlier_or_later(bnsbench, tmp_path):
    spent = []
    for gain in (2.0, 0.05):
        done = bnsbench("train", "digits-gmm", "--nfe", 4, "--gain", gain, "--quiet", "-o", "bns.json")
        assert done.code == 0
        spent.append(sum(SolverArtefact.load(tmp_path / "bns.json").training["forwards"].values()))
    assert spent[0] < 0.7 * spent[1]
