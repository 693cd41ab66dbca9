"""``bnsbench transfer`` and ``bnsbench solver blend``."""

from __future__ import annotations

import json

import pytest

from bnsbench.api import named
from bnsbench.flows.paths import CondOT
from bnsbench.models.digits.mixture import digits_gmm
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.tracing import trace
from bnsbench.solvers.runge_kutta import midpoint
from bnsbench.training.tuning import tuned_classics

COMMON = ("--count", 8, "--tolerance", 1e-2)


@pytest.fixture(autouse=True)
def _quick(monkeypatch, tmp_path):
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tuned_classics, "RULES", ("euler",))
    monkeypatch.setattr(named, "shipped_solver", lambda *key: None)  # for these models the package ships some
    for guidance in (0.0, 2.0):
        model = digits_gmm()
        table = trace(lambda field, x0: midpoint(field, x0, 4), CondOT())
        made = SolverArtefact(table, CondOT(), (0.0, 1.0), "digits-gmm", model.fingerprint(), guidance, "bns")
        made.save(tmp_path / f"w{guidance:g}.json")


def test_a_row_for_every_place_and_a_copy_that_knows_it(bnsbench, tmp_path):
    done = bnsbench("transfer", "w0.json", "--guidance", "0,2", "--specialist", "w2.json", *COMMON, "-o", "known.json")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "bns at 4 NFE, trained for digits-gmm at w = 0."
    assert lines[2].split()[:3] == ["model", "w", "dtype"]
    home, there = lines[3:5]
    assert "(itself)" in home
    assert "(euler)" in there
    assert "network forwards" in lines[-1]
    sampled = bnsbench("sample", "digits-gmm", "--solver", "known.json", "--guidance", 2, "--count", 2, "-o", "out")
    assert "Note: The table was made for digits-gmm at w = 0, and is used at w = 2." in sampled.err
    assert "There it was measured" in sampled.err
    assert "transfer" not in json.loads((tmp_path / "w0.json").read_text())["training"]
    refused = bnsbench("sample", "digits-gmm", "--solver", "w0.json", "--guidance", 2, "--strict", "-o", "out")
    assert (refused.code, refused.out) == (2, "")
    assert "is used at w = 2. Train one there" in refused.err


def test_json_and_csv(bnsbench, tmp_path):
    done = bnsbench("transfer", "w0.json", "--guidance", "2", "--json", *COMMON, "-o", "matrix.csv", "-q")
    found = json.loads(done.out)
    (place,) = found["places"]
    assert (found["nfe"], place["guidance"], place["specialist"], place["specialist_psnr"]) == (4, 2.0, "", None)
    assert place["classic_difference"] == pytest.approx(place["psnr"] - place["classic_psnr"])
    header, row = (tmp_path / "matrix.csv").read_text().splitlines()
    assert header.startswith("model,guidance,dtype,status,psnr,")
    assert row.startswith("digits-gmm,2.0,float64,ok,")


def test_a_blend_is_a_file_between_two(bnsbench, tmp_path):
    done = bnsbench("solver", "blend", "w0.json", "w2.json", "--guidance", 1, "--output", "w1.json")
    assert (done.code, done.out) == (0, "a blend for digits-gmm at guidance 1 and 4 NFE: w1.json\n")
    assert SolverArtefact.load(tmp_path / "w1.json").guidance == 1.0
    shown = bnsbench("solver", "show", "w1.json").out
    assert "blended for digits-gmm at guidance 1" in shown
    assert "between bns at guidance 0 and bns at guidance 2" in shown
    as_json = json.loads(bnsbench("solver", "blend", "w0.json", "w2.json", "--guidance", 1, "-o", "x.json", "--json").out)
    assert [each["guidance"] for each in as_json["parents"]] == [0.0, 2.0]


def test_an_export_beside_another_model_is_told(bnsbench):
    common = ("solver", "export", "w0.json", "out", "--to", "json", "--model")
    assert bnsbench(*common, "digits-gmm").err == ""
    done = bnsbench(*common, "ring8")
    assert done.code == 0
    assert "and is used on other weights (ring8)" in done.err
    assert "trained on the condot path" in bnsbench(*common, "digits-gmm[path=cosine]").err
    for model in ("ring8", "digits-gmm[path=cosine]"):
        refused = bnsbench(*common, model, "--strict")
        assert (refused.code, refused.out) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("transfer", "absent.json"), "cannot be read"),
        (("transfer", "w0.json", "--guidance", "high"), "--guidance takes numbers"),
        (("transfer", "w0.json", "--dtype", "int3"), "There is no precision 'int3'"),
        (("transfer", "w0.json", "--count", "1"), "--count"),
        (("transfer", "w0.json", "--model", "ring9"), "did you mean 'ring8'?"),
        (("transfer", "w0.json", "-o", "matrix.txt"), "--output takes a file that ends in .json or .csv"),
        (("solver", "blend", "w0.json", "w2.json", "--guidance", "3", "-o", "x.json"), "does not lie between"),
        (("solver", "blend", "w0.json", "w2.json", "--guidance", "1", "-o", "."), "is a folder"),
    ],
)
def test_misuse_is_told_in_a_sentence(bnsbench, arguments, sentence):
    done = bnsbench(*arguments)
    assert done.code == 2
    assert sentence in done.err
    assert "Traceback" not in done.err
