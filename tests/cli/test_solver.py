"""``bnsbench solver show``, ``diff`` and ``export``."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from bnsbench.flows.paths import CondOT
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver

DIRECT = """
from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import SolverSpec

@hookimpl
def bnsbench_solvers():
    yield SolverSpec("straight", ":straight", kind="direct")

def straight(field, x0, nfe):
    return x0
"""


@pytest.fixture
def artefact(tmp_path):
    table = NonStationarySolver(
        torch.tensor([0.0, 0.25, 1.0]), torch.tensor([1.0, 1.0]), torch.tensor([[0.25, 0.0], [0.25, 0.75]])
    )
    made = SolverArtefact(table, CondOT(), (0.0, 1.0), "ring8", "f" * 64, 1.5, "bns", {"psnr": 41.25})
    made.save(tmp_path / "mine.json")
    return made


def numbers(line: str) -> list[float]:
    return [float(word) for word in line.split()]


def test_euler_s_table(bnsbench):
    lines = bnsbench("solver", "show", "euler", "--nfe", 4).out.splitlines()
    rows = [numbers(line) for line in lines[3:8]]
    assert rows[2] == [2.0, 0.5, 1.0, 0.25, 0.25, 0.25]
    assert rows[4] == [4.0, 1.0]


def test_heun_visits_a_time_twice(bnsbench):
    shown = json.loads(bnsbench("solver", "show", "heun", "--nfe", 4, "--json").out)
    assert shown["times"] == [0.0, 0.5, 0.5, 1.0, 1.0]
    assert shown["a"] == [1.0] * 4
    assert shown["properties"]["increasing"] is False
    assert shown["path"] == {"name": "condot"}


def test_names_elsewhere(bnsbench, artefact):
    assert "\nalso known as: rk4 (torchdiffeq)\n" in bnsbench("solver", "show", "rk38", "--nfe", 4).out
    assert json.loads(bnsbench("solver", "show", "rk38", "--nfe", 4, "--json").out)["known_as"] == ["rk4 (torchdiffeq)"]
    assert "also known as" not in bnsbench("solver", "show", "rk4", "--nfe", 4).out
    assert json.loads(bnsbench("solver", "show", "mine.json", "--json").out)["known_as"] == []


def test_path_of_a_model(bnsbench):
    shown = json.loads(bnsbench("solver", "show", "ddim", "--nfe", 3, "--model", "ring8[path=vp]", "--json").out)
    assert shown["path"]["name"] == "vp"
    assert shown["interval"] == [0.0, 0.999]
    assert shown["properties"]["noise_error"] < 1e-12


def test_wide_tables_are_cut_but_not_in_json(bnsbench):
    assert max(len(line) for line in bnsbench("solver", "show", "euler", "--nfe", 30).out.splitlines()) < 130
    assert len(json.loads(bnsbench("solver", "show", "euler", "--nfe", 30, "--json").out)["b"][29]) == 30


def test_file(bnsbench, artefact):
    done = bnsbench("solver", "show", "mine.json")
    assert "trained for ring8 at guidance 1.5, weights ffffffffffff" in done.out
    assert "validation PSNR 41.25 dB" in done.out
    assert "noise 0.00e+00, data 0.00e+00" in done.out


def test_rows_that_fulfil_the_sum_rules_have_no_columns_for_them(bnsbench, artefact):
    lines = bnsbench("solver", "show", "mine.json").out.splitlines()
    assert lines[2].split() == ["i", "t[i]", "a[i]", "b[i,0]", "b[i,1]"]
    assert "all rows fulfil the sum rules of the path; largest residual: noise 0.00e+00, data 0.00e+00" in lines


def test_rows_that_miss_the_sum_rules_say_by_how_much(bnsbench):
    arguments = ("solver", "show", "euler", "--nfe", 3, "--model", "ring8[path=cosine]")
    lines = bnsbench(*arguments).out.splitlines()
    assert lines[2].split()[-2:] == ["noise", "data"]
    # Euler's steps on x = cos(pi t / 2) eps + sin(pi t / 2) x1 are left sums.
    slopes = [torch.pi / 2 * math.cos(torch.pi / 6 * i) for i in range(3)]
    data = [sum(slopes[: i + 1]) / 3 - math.sin(torch.pi / 6 * (i + 1)) for i in range(3)]
    assert [numbers(line)[-1] for line in lines[3:6]] == pytest.approx(data, abs=6e-3)
    assert any(line.startswith("  data: how much more of the data") for line in lines)
    shown = json.loads(bnsbench(*arguments, "--json").out)
    assert shown["residuals"]["data"] == pytest.approx(data, abs=1e-12)
    assert shown["properties"]["data_error"] == pytest.approx(max(data))


def test_amplification_in_json(bnsbench):
    figures = json.loads(bnsbench("solver", "show", "euler", "--nfe", 4, "--json").out)["properties"]
    assert figures["stability_limit"] == pytest.approx(8)
    assert (figures["start_gain"], figures["noise_gain"], figures["largest_noise_gain"]) == (1.0, 0.5, 0.5)
    assert figures["decay_errors"] == pytest.approx({"-1.0": math.exp(-1) - 0.75**4, "-4.0": math.exp(-4)})


def test_an_infinite_limit_is_null_in_json(bnsbench, artefact):
    still = NonStationarySolver(torch.tensor([0.0, 1.0]), torch.ones(1), torch.zeros(1, 1))
    SolverArtefact(still, CondOT(), (0.0, 1.0), "ring8", "f" * 64, 0.0, "bns").save("still.json")
    shown = json.loads(bnsbench("solver", "show", "still.json", "--json").out)
    assert (shown["properties"]["stability_limit"], shown["start"]) == (None, None)
    assert "stability limit: inf" in bnsbench("solver", "show", "still.json").out


def test_distance_from_the_start(bnsbench, artefact):
    start = {"name": "euler", "table": {"times": [0.0, 0.5, 1.0], "a": [1.0, 1.0], "b": [[0.5], [0.5, 0.5]]}}
    replace(artefact, training={"start": start, "stopped": "it was told to"}).save("moved.json")
    done = bnsbench("solver", "show", "moved.json")
    assert "started from euler, largest differences: times 0.25, a 0, b 0.25" in done.out
    assert "stopped: it was told to" in done.out
    shown = json.loads(bnsbench("solver", "show", "moved.json", "--json").out)
    assert shown["start"] == {"name": "euler", "distance": {"times": 0.25, "a": 0.0, "b": 0.25}}


@pytest.mark.parametrize("start", ["bns at 6 NFE", {"name": "bns at 6 NFE"}])
def test_a_start_without_its_table_is_only_named(bnsbench, artefact, start):
    replace(artefact, training={"start": start}).save("older.json")
    assert "started from bns at 6 NFE" in bnsbench("solver", "show", "older.json").out.splitlines()
    shown = json.loads(bnsbench("solver", "show", "older.json", "--json").out)
    assert shown["start"] == {"name": "bns at 6 NFE", "distance": None}


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_picture(bnsbench, artefact, tmp_path, more):
    done = bnsbench("solver", "show", "mine.json", "--output", "pictures/mine.svg", *more)
    assert (done.code, done.err) == (0, "")
    assert "bns at 2 NFE for ring8, w = 1.5, condot path" in (tmp_path / "pictures/mine.svg").read_text()
    if more:
        json.loads(done.out)
    else:
        assert done.out.endswith("picture: pictures/mine.svg\n")


def test_difference(bnsbench, artefact):
    done = bnsbench("solver", "diff", "euler", "mine.json", "--nfe", 2)
    rows = [numbers(line) for line in done.out.splitlines()[1:4]]
    assert rows[0] == [0.0, 0.0, 0.0, -0.25]
    assert rows[1] == [1.0, -0.25, 0.0, -0.25, 0.25]
    gaps = json.loads(bnsbench("solver", "diff", "euler", "mine.json", "--nfe", 2, "--json").out)
    assert gaps == {"times": 0.25, "a": 0.0, "b": 0.25}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("show", "euler"), "needs a budget: add --nfe"),
        (("show", "heun", "--nfe", 3), "'heun' spends 2, 4, 6, ... evaluations, not 3"),
        (("show", "eulr", "--nfe", 3), "There is no solver 'eulr'; did you mean 'euler'?"),
        (("show", "bns", "--nfe", 4), "has to be trained for its model: run `bnsbench train MODEL --nfe 4 --output FILE`"),
        (("show", "ld3[rule=ab2]", "--nfe", 4), 'run `bnsbench train MODEL --nfe 4 --solver "ld3[rule=ab2]" --output FILE`'),
        (("show", "ab3[grid=best]", "--nfe", 4), 'run `bnsbench tune MODEL --nfe 4 --solver "ab3" --output FILE`'),
        (("show", "tuned", "--nfe", 4), "has to be tuned for its model: run `bnsbench tune MODEL --nfe 4 --output FILE`"),
        (("show", "nowhere.json"), "nowhere.json cannot be read"),
        (("show", "mine.json", "--nfe", 3), "The solver in mine.json spends 2 evaluations, not 3"),
        (("show", "mine.json", "-o", "mine.pdf"), "The picture 'mine.pdf' must end in .png or .svg."),
        (("diff", "euler", "mine.json", "--nfe", 3), "spends 2 evaluations, not 3"),
        (("show", "straight", "--nfe", 3, "--plugin", "direct.py"), "'straight' runs directly, so it has no table"),
    ],
)
def test_misuse(bnsbench, artefact, tmp_path, arguments, sentence):
    (tmp_path / "direct.py").write_text(DIRECT)
    done = bnsbench("solver", *arguments)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


def test_files_of_different_nfe(bnsbench, artefact):
    longer = NonStationarySolver(torch.tensor([0.0, 1.0]), torch.ones(1), torch.ones(1, 1))
    SolverArtefact(longer, CondOT(), (0.0, 1.0), "ring8", "f" * 64, 0.0, "bns").save("one.json")
    done = bnsbench("solver", "diff", "one.json", "mine.json")
    assert done.code == 2
    assert "Solvers of 1 and 2 NFE cannot be compared" in done.err


EXPORTER = """
import json
from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import ExporterSpec

@hookimpl
def bnsbench_exporters():
    yield ExporterSpec("plain", ":write", "As it is.", parameters={"indent": 1})

def write(artefact, folder, indent):
    folder.mkdir()
    file = folder / "solver.json"
    file.write_text(json.dumps(artefact.to_dict(), indent=indent))
    return file
"""


@pytest.fixture
def exporter(tmp_path):
    (tmp_path / "exporter.py").write_text(EXPORTER)
    return ("--plugin", "exporter.py")


def test_export_of_a_file(bnsbench, artefact, exporter, tmp_path):
    done = bnsbench("solver", "export", "mine.json", "--to", "plain", "out", *exporter)
    assert (done.code, done.out, done.err) == (0, "out/solver.json\n", "")
    assert json.loads((tmp_path / "out/solver.json").read_text()) == artefact.to_dict()


def test_export_of_a_classic_is_its_table_for_the_model(bnsbench, exporter, tmp_path):
    words = ("solver", "export", "ddim", "--nfe", 3, "--model", "ring8[path=vp]", "--to", "plain[indent=2]", "out", "--json")
    done = bnsbench(*words, *exporter)
    assert json.loads(done.out) == {"path": "out/solver.json"}
    written = SolverArtefact.load(tmp_path / "out/solver.json")
    assert (written.name, written.model, written.path.name, written.interval) == (
        "ddim",
        "ring8[path=vp]",
        "vp",
        (0.0, 0.999),
    )
    assert len(written.fingerprint) >= 32
    shown = json.loads(bnsbench("solver", "show", "ddim", "--nfe", 3, "--model", "ring8[path=vp]", "--json").out)
    assert written.solver.to_dict()["b"] == shown["b"]


@pytest.mark.parametrize(
    ("to", "ending"),
    [
        ("kdiffusion", "_kdiffusion.py"),
        ("odeint[time=1 to 0]", "_odeint.py"),
        ("python[time=1 to 0]", "_python.py"),
        ("sigmas[shift=3]", "_sigmas.json"),
        ("json", ".json"),
    ],
)
def test_built_in_exporters(bnsbench, tmp_path, to, ending):
    done = bnsbench("solver", "export", "euler", "out", "--nfe", 4, "--to", to)
    assert (done.code, done.out, done.err) == (0, f"out/euler_w0_nfe4{ending}\n", "")
    assert (tmp_path / done.out.strip()).stat().st_size > 500


def test_a_file_of_a_name_of_ones_own(bnsbench, tmp_path):
    words = ("solver", "export", "euler", "--nfe", 4, "--to")
    done = bnsbench(*words, "odeint", "out/bns4.py")
    assert (done.code, done.out, done.err) == (0, "out/bns4.py\n", "")
    assert "NFE = 4\n" in (tmp_path / "out/bns4.py").read_text()
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["bns4.py"]
    done = bnsbench(*words, "json", "out/bns4.py")
    assert (done.code, done.out) == (2, "")
    assert "This format is no .py file but euler_w0_nfe4.json" in done.err
    assert "NFE = 4\n" in (tmp_path / "out/bns4.py").read_text()


def test_times_alone_of_a_rule_that_nobody_has(bnsbench):
    done = bnsbench("solver", "export", "deis", "out", "--nfe", 4, "--to", "sigmas")
    assert (done.code, done.out) == (1, "")
    assert "The coefficients of deis are its own, and other software runs only euler" in done.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("mine.json", "--to", "plane", "out"), "There is no exporter 'plane'; did you mean 'plain'?"),
        (("nowhere.json", "--to", "plain", "out"), "nowhere.json cannot be read"),
        (("euler", "--to", "plain", "out"), "needs a budget: add --nfe"),
    ],
)
def test_exports_that_cannot_be(bnsbench, artefact, exporter, arguments, sentence):
    done = bnsbench("solver", "export", *arguments, *exporter)
    assert (done.code, done.out) == (2, "")
    assert sentence in done.err


@pytest.fixture
def split(artefact):
    made = replace(artefact, solver=artefact.solver.split(1.5), name="bns[columns=split]")
    made.save("split.json")
    return made


def test_split_columns_are_shown_beside_each_other(bnsbench, split):
    lines = bnsbench("solver", "show", "split.json").out.splitlines()
    assert lines[2].split()[:7] == ["i", "t[i]", "a[i]", "b[i,0]", "c[i,0]", "b[i,1]", "c[i,1]"]
    assert numbers(lines[3])[:5] == [0.0, 0.0, 1.0, 0.625, -0.375]
    assert numbers(lines[4])[:7] == [1.0, 0.25, 1.0, 0.625, -0.375, 1.875, -1.125]
    assert any(line.startswith("columns are split:") for line in lines)
    shown = json.loads(bnsbench("solver", "show", "split.json", "--json").out)
    assert (shown["guidance"], shown["c"]) == (1.5, [[-0.375], [-0.375, -1.125]])


def test_a_table_and_itself_with_split_columns_do_not_differ(bnsbench, split):
    assert json.loads(bnsbench("solver", "diff", "mine.json", "split.json", "--json").out) == {"times": 0, "a": 0, "b": 0}
    rows = [numbers(line) for line in bnsbench("solver", "diff", "mine.json", "split.json").out.splitlines()[1:3]]
    assert [len(row) for row in rows] == [5, 7]


def test_split_columns_are_not_exported(bnsbench, split, exporter, tmp_path):
    done = bnsbench("solver", "export", "split.json", "--to", "plain", "out", *exporter)
    assert (done.code, done.out) == (1, "")
    assert "other software hands a sampler only their mixture" in done.err
    assert not (tmp_path / "out").exists()
