"""``bnsbench list``."""

from __future__ import annotations

import json

import pytest

from bnsbench.contract import PluginHost
from bnsbench.flows.known_paths import PATHS
from bnsbench.solvers.known_grids import GRIDS
from bnsbench.suite.executors import AUTO
from bnsbench.training.known_choices import FAMILIES, FORMS, OBJECTIVES

OFFERED = ["models", "solvers", "metrics", "suites", "executors", "reports", "exporters"]
OWN = {"paths": PATHS, "grids": GRIDS, "objectives": (*OBJECTIVES, *FORMS), "families": FAMILIES}
KINDS = ["models", "solvers", "metrics", "suites", *OWN, "executors", "reports", "exporters"]


def records(kind):
    if kind in OWN:
        return OWN[kind]
    return [*([AUTO] if kind == "executors" else []), *getattr(PluginHost.load(), kind)]


@pytest.fixture
def terminal(monkeypatch):
    """Make stdout a terminal of so many columns, without colours."""

    def of(columns):
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        monkeypatch.setenv("TERM", "dumb")
        monkeypatch.setenv("COLUMNS", str(columns))

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_json_has_every_record(bnsbench, kind):
    listed = json.loads(bnsbench("list", kind, "--json").out)
    assert [entry["name"] for entry in listed] == [record.name for record in records(kind)]


@pytest.mark.parametrize("kind", KINDS)
def test_pipes_get_one_plain_line_per_record(bnsbench, kind):
    lines = bnsbench("list", kind).out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *(record.name for record in records(kind))]
    assert all(line.isascii() and "\x1b" not in line for line in lines)


def test_without_a_kind_everything_is_listed(bnsbench):
    everything = json.loads(bnsbench("list", "--json").out)
    assert list(everything) == KINDS
    for kind in KINDS:
        assert [entry["name"] for entry in everything[kind]] == [record.name for record in records(kind)]
    lines = bnsbench("list").out.splitlines()
    assert [line for line in lines if line in KINDS] == KINDS
    assert lines[0] == "models"


def test_terminals_get_a_drawn_table(bnsbench, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert "─" in bnsbench("list", "metrics").out


@pytest.mark.parametrize("columns", [80, 60, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_lists_fit_a_terminal_and_cut_no_word(bnsbench, terminal, kind, columns):
    terminal(columns)
    lines = bnsbench("list", kind).out.splitlines()
    assert max(map(len, lines)) <= columns
    words = {word for line in lines for word in line.split()}
    assert "…" not in "".join(lines)
    for record in records(kind):
        assert {record.name, *record.summary.split()} <= words


def test_a_list_of_solvers_has_what_one_chooses_by(bnsbench):
    lines = bnsbench("list", "solvers").out.splitlines()
    assert lines[0].split() == ["name", "order", "budgets", "summary"]
    rows = {line.split()[0]: line for line in lines}
    assert "4      4, 8, 12, ...  The classic four-stage rule." in rows["rk4"]
    assert "       1, 2, 3, ...   Learned times of a classic rule." in rows["ld3"]


def test_lists_tell_what_may_be_written_and_in_what_range(bnsbench):
    rows = {line.split()[0]: line for line in bnsbench("list", "grids").out.splitlines()}
    assert "edm:RHO:SIGMA_MIN:SIGMA_MAX" in rows["edm"]
    assert "(RHO above 0, 7 if not given; SIGMA_MIN at least 0; SIGMA_MAX above SIGMA_MIN)" in rows["edm"]
    rows = {line.split()[0]: line for line in bnsbench("list", "paths").out.splitlines()}
    assert "EDM(sigma_min=0.002, sigma_max=80)" in rows["edm"]
    assert "soft-OBJECTIVE" in bnsbench("list", "objectives").out


@pytest.mark.parametrize("words", [("unipc",), ("solvers", "unipc"), ("unipc[order=3]",), ("builtin/unipc",)])
def test_one_solver_is_told_in_full(bnsbench, words):
    lines = bnsbench("list", *words).out.splitlines()
    assert lines[0].split() == ["solver", "unipc"]
    facts = [tuple(line.split(maxsplit=1)) for line in lines[1:]]
    for fact in (
        ("parameter", "order=2"),
        ("parameter", "variant=bh2"),
        ("parameter", "lower_order_final=true"),
        ("parameter", "grid=uniform: see `bnsbench list grids`"),
        ("order", "2"),
        ("budgets", "1, 2, 3, ... evaluations"),
        ("reference", "Zhao et al. 2023, UniPC, arXiv 2302.04867, Algorithms 1 and 2"),
        ("known as", "UniPCMultistepScheduler (diffusers)"),
        ("provider", "builtin"),
        ("version", "1"),
    ):
        assert (fact if " " not in fact[0] else ("known", f"as   {fact[1]}")) in facts, fact


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("fid", "metric", "better     lower"),
        ("speech", "model", "makes      audio"),
        ("quick", "suite", "quick.toml"),
        ("processes", "executor", "parameter  workers=0"),
        ("markdown", "report", "file       .md"),
        ("karras", "time grid", "RHO=7: above 0; more has shorter steps at the data"),
        ("edm:7", "time grid", "known as   karras"),
        ("discrete-vp", "path", "alphas_cumprod: numbers between 0 and 1"),
        ("log-mse", "objective", "decibels count alike"),
        ("bns", "solver", "parameter  ladder=standard: standard, every, none"),
    ],
)
def test_anything_is_found_by_its_name(bnsbench, name, kind, told):
    out = bnsbench("list", name).out
    assert out.splitlines()[0].startswith(f"{kind} ")
    assert told in out
    [entry, *_] = json.loads(bnsbench("list", name, "--json").out)
    assert entry["type"] == kind


def test_a_name_of_several_kinds_tells_them_all(bnsbench):
    found = json.loads(bnsbench("list", "edm", "--json").out)
    assert [entry["type"] for entry in found] == ["path", "time grid"]
    assert [entry["type"] for entry in json.loads(bnsbench("list", "grids", "edm", "--json").out)] == ["time grid"]
    assert "\n\ntime grid" in bnsbench("list", "edm").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("solver",), "There is nothing called 'solver'; did you mean 'solvers'?"),
        (("eulr",), "There is nothing called 'eulr'; did you mean 'euler'?"),
        (("qqqq",), "There is nothing called 'qqqq'; `bnsbench list` has all names, of models, solvers, "),
        (
            ("dpmpp_2m",),
            "There is nothing called 'dpmpp_2m'; did you mean 'dpm++2m[lower_order_final=false]' (k-diffusion's",
        ),
        (("solvers", "dpmpp_2m"), "There is no solver 'dpmpp_2m'; did you mean 'dpm++2m[lower_order_final=false]'"),
        (("grids", "edn"), "There is no time grid 'edn'; did you mean 'edm'?"),
        (("modls", "ring8"), "There is no kind 'modls'; did you mean 'models'?"),
    ],
)
def test_unknown_names_are_explained(bnsbench, words, said):
    done = bnsbench("list", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@pytest.mark.usefixtures("plugins_allowed")
def test_local_plugin(bnsbench, tmp_path):
    (tmp_path / "bnsbench_local.py").write_text(
        "from bnsbench.contract.hookspecs import hookimpl\nfrom bnsbench.contract.specs import MetricSpec\n"
        "@hookimpl\ndef bnsbench_metrics():\n    yield MetricSpec('mine', ':mine', 'A number.')\n"
    )
    assert "A number. (plugin " in next(line for line in bnsbench("list", "metrics").out.splitlines() if "mine" in line)


def test_problems_go_to_stderr(bnsbench, tmp_path):
    (tmp_path / "bad.py").write_text("import nowhere_at_all")
    done = bnsbench("list", "metrics", "--plugin", "bad.py")
    assert done.code == 0
    assert "psnr" in done.out
    assert "Plugin bad has a problem: it could not be loaded: ModuleNotFoundError" in done.err
