"""``bnsbench tune``: a classic solver on its best grid, as a file that everything else takes."""

from __future__ import annotations

import json

import pytest

from bnsbench.nonstationary.artefact import SolverArtefact


def test_a_file_that_samples_and_says_what_it_is(bnsbench, tmp_path):
    done = bnsbench("tune", "ring8", "--nfe", 4, "-o", "deep/tuned.json")
    assert done.code == 0
    artefact = SolverArtefact.load(tmp_path / "deep" / "tuned.json")
    assert (artefact.solver.nfe, artefact.model, artefact.name) == (4, "ring8", "tuned")
    first = done.out.splitlines()[0]
    assert artefact.training["grid"] in first
    assert artefact.training["rule"] in first
    assert f"{sum(artefact.training['forwards'].values()):,} network forwards" in done.out
    assert "4 NFE: grid search" in done.err
    sampled = bnsbench("sample", "ring8", "--solver", "deep/tuned.json", "--count", 2, "-o", "seen")
    assert sampled.code == 0
    assert "tuned on ring8: 4 NFE" in sampled.out
    shown = bnsbench("solver", "show", "deep/tuned.json")
    assert f"on the grid {artefact.training['grid']}" in shown.out


def test_the_standings_have_every_classic_on_its_best_grid(bnsbench):
    done = bnsbench("tune", "ring8", "--nfe", 4, "-o", "tuned.json", "--quiet")
    assert done.err == ""
    lines = done.out.splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("solver "))
    names = [line.split()[0] for line in lines[header + 1 :]]
    values = [float(line.split()[1]) for line in lines[header + 1 :]]
    assert {"tuned", "euler", "ab3", "dpm++2m", "unipc", "edm-heun"} <= set(names)
    assert values == sorted(values, reverse=True)
    assert values[names.index("tuned")] > values[names.index("euler")]


def test_one_rule_is_tuned_by_name(bnsbench, tmp_path):
    done = bnsbench("tune", "digits-gmm", "--nfe", 4, "--guidance", "0,2", "--solver", "dpm++2m", "-o", "t.json", "-q")
    assert done.code == 0
    artefact = SolverArtefact.load(tmp_path / "t.json")
    assert artefact.name == "dpm++2m[grid=best]"
    assert artefact.guidance == (0.0, 2.0)
    assert "PSNR, w = 2" in done.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--nfe", 4, "--solver", "bns"), "'bns' has no time grid to tune; choose 'tuned' or a classic with a grid"),
        (("--nfe", 6, "--solver", "rk4"), "'rk4[grid=best]' spends 4, 8, 12, ... evaluations, not 6"),
        (("--nfe", 4, "--guidance", "high"), "--guidance takes numbers"),
        (("--nfe", 4, "--tolerance", 2), "The tolerance must lie between 0 and 1, not 2"),
        (("--nfe", 4, "--output", "."), "'.' is a folder"),
    ],
)
def test_what_cannot_be_meant_is_told_in_a_sentence(bnsbench, arguments, sentence):
    output = () if "--output" in arguments else ("-o", "t.json")
    done = bnsbench("tune", "ring8", *arguments, *output)
    assert done.code == 2
    assert sentence in done.err
    assert "Traceback" not in done.err


def test_json_has_the_grid_and_what_it_cost(bnsbench):
    done = bnsbench("tune", "ring8", "--nfe", 4, "--solver", "ab2", "-o", "t.json", "--quiet", "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert (found["file"], found["model"], found["nfe"], found["rule"]) == ("t.json", "ring8", 4, "ab2")
    assert sum(found["forwards"].values()) > 0
    assert found["placings"][0]["psnr"][0] >= found["placings"][-1]["psnr"][0]
