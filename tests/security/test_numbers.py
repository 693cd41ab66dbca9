"""Numbers, selectors and options of any size or script: what cannot be meant is a usage error, at once and in a sentence."""

from __future__ import annotations

import time

import pytest

from bnsbench.contract import PluginHost, parse_selector, split_selectors
from bnsbench.contract.specs import MOST_EVALUATIONS, Budgets
from bnsbench.errors import UsageError
from bnsbench.process.machine import choose_device, threads
from bnsbench.suite.suitefile import MOST_SECONDS, override, read_suite

WHOLE = ["²", "٣x", "9" * 30, "9" * 5000, "-1", "inf", "nan", "1.5", "1e9", "0x10"]
REAL = ["inf", "-inf", "nan", "1e400", "²", "9" * 400]
LONG = [
    "," * 120_000,
    f"euler[{',' * 120_000}]",
    "e" * 200_000,
    "[" * 100_000,
    "a[" * 50_000 + "]" * 50_000,
    "a=b," * 40_000,
]


def limited(seconds=5.0):
    """Return a check that so many seconds have not passed yet."""
    began = time.monotonic()
    return lambda: time.monotonic() - began < seconds


def whole_commands(text):
    yield from (["run", "quick", f"{option}={text}", "--dry-run"] for option in ("--nfe", "--samples", "--batch"))
    yield ["run", "quick", "--dry-run", "--executor", f"processes[workers={text}]"]
    yield ["run", "quick", "--model", "ring8", "--solver", "euler", "--nfe", "1", "--device", f"cuda:{text}"]
    yield from (["tune", "ring8", f"--nfe={text}", "-o", "o.json"], ["train", "ring8", f"--nfe={text}", "-o", "o.json"])
    yield from (["train", "ring8", f"--nfe=1-{text}", "-o", "o"], ["solver", "show", "euler", f"--nfe={text}"])
    yield ["sample", "ring8", "--solver", "euler", "--nfe", text, "-o", "o"]
    yield ["solver", "show", f"unipc[order={text}]", "--nfe", "4"]


def real_commands(text):
    yield ["run", "quick", f"--timeout={text}", "--dry-run"]
    yield ["run", "quick", f"--guidance={text}", "--dry-run"]
    yield ["sample", "ring8", "--solver", "euler", "--nfe", "4", f"--guidance={text}", "-o", "o"]
    yield ["solver", "show", "euler", "--nfe", "4", f"--guidance={text}"]
    yield ["solver", "show", f"er-sde[eta={text}]", "--nfe", "4"]
    for option in ("--guidance", "--weights", "--budget", "--gain", "--tolerance"):
        yield ["train", "ring8", "--nfe=4", "--estimate", f"{option}={text}"]


@pytest.mark.parametrize("text", WHOLE, ids=lambda text: text[:8])
def test_whole_numbers_on_the_command_line(bnsbench, text):
    for words in whole_commands(text):
        refused(bnsbench, words)


@pytest.mark.parametrize("text", REAL, ids=lambda text: text[:8])
def test_real_numbers_on_the_command_line(bnsbench, text):
    for words in real_commands(text):
        refused(bnsbench, words)


def refused(bnsbench, words):
    """Run a command that has to say in a short sentence at once what is wrong with it."""
    soon = limited()
    done = bnsbench(*words)
    assert done.code == 2, (words[:3], done.out[-200:], done.err[-200:])
    assert "Unexpected" not in done.err
    assert len(done.err) < 4000
    assert soon()


@pytest.mark.parametrize("text", LONG, ids=lambda text: text[:8])
def test_names_of_any_length_on_the_command_line(bnsbench, text):
    for words in (["solver", "show", text, "--nfe", "4"], ["list", text], ["run", "quick", "--dry-run", "--solver", text]):
        refused(bnsbench, words)
    for words in (["leaderboard", text], ["compare", text, text], ["check", text], ["run", f"{text}.toml"]):
        soon, done = limited(), bnsbench(*words)
        assert done.code in (1, 2)
        assert "Unexpected" not in done.err
        assert len(done.err) < 4000
        assert soon()


@pytest.mark.parametrize("text", LONG, ids=lambda text: text[:8])
def test_selectors_of_any_length(text):
    host = PluginHost.load()
    for find in (host.model, host.solver, host.metric, host.executor, host.suite, parse_selector):
        soon = limited()
        with pytest.raises(UsageError) as caught:
            find(text)
        assert len(str(caught.value)) < 2000
        assert soon()


@pytest.mark.parametrize("value", ["1" + "0" * 400, "9" * 5000, str(2**63), "²", "inf"], ids=lambda value: value[:8])
def test_whole_numbers_of_selectors_have_64_bits(value):
    with pytest.raises(UsageError, match="Parameter 'order' of 'unipc' must be a whole number, not"):
        PluginHost.load().solver(f"unipc[order={value}]")
    assert PluginHost.load().executor(f"processes[workers={2**63 - 1}]").parameters == {"workers": 2**63 - 1}


def test_a_list_may_be_long_but_not_endless():
    assert len(split_selectors(",".join(["euler"] * 5000))) == 5000
    with pytest.raises(UsageError, match="has more than 10,000 parts"):
        split_selectors("," * 20_000)


def test_budgets_end_somewhere():
    budgets = Budgets(1, 1)
    assert budgets.reason_against(MOST_EVALUATIONS) is None
    for nfe in (MOST_EVALUATIONS + 1, 10**8, 10**5000):
        assert budgets.reason_against(nfe) == "spends at most 4,096 evaluations"


@pytest.mark.parametrize("text", [*WHOLE, "0", " ", "5000"], ids=lambda text: text[:8])
def test_threads_of_the_environment(monkeypatch, text):
    monkeypatch.setenv("BNSBENCH_THREADS", text)
    with pytest.raises(UsageError, match="BNSBENCH_THREADS must be a whole number from 1 to"):
        threads()


@pytest.mark.parametrize("text", ["²", "9" * 400, "-1", "1.0", "0x0", "٣"], ids=lambda text: text[:8])
def test_devices(text):
    with pytest.raises(UsageError, match=r"There is no device|is not there"):
        choose_device(f"cuda:{text}")


HEAD = "nfe = [4]\nsolvers = ['euler']\nmodels = ['ring8']\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a." * 100_000 + "b = 1", "nested too deeply"),
        (HEAD + "a." * 5_000 + "b = 1", "nested too deeply"),
        ("[" + '"a" . ' * 5_000 + "b]", "nested too deeply"),
        (HEAD + "x = {" + "a." * 40 + "b = 1}", "nested too deeply"),
        ("x = " + "[" * 100_000, "nested too deeply"),
        ("x = " + "{a = " * 50_000, "nested too deeply"),
        ("seed = " + "9" * 5000, "not valid TOML"),
        (
            f"{HEAD}seed = 0x{'f' * 6000}",
            "seed: input should be less than .* .given: a value that is too long",
        ),
        (f"{HEAD}seed = {2**63}", "seed: input should be less than"),
        (f"{HEAD}samples = 10000000000", "samples: input should be less than or equal to"),
        (f"{HEAD}batch = {10**30}", "batch: "),
        (f"{HEAD}timeout = inf", "timeout: input should be a finite number"),
        (f"{HEAD}timeout = nan", "timeout: "),
        (f"{HEAD}timeout = 1e10", "timeout: input should be less than or equal to 1000000"),
        (HEAD.replace("4", "100000000"), "nfe.0.: input should be less than or equal to 4096"),
        (HEAD.replace("4", "9" * 400), "nfe.0.: "),
        (HEAD.replace("4", "'²'"), "nfe.0.: "),
        (f"{HEAD}{'k' * 100_000} = 1", "there is no such key"),
        (f"{HEAD}seed = '{'s' * 100_000}'", "seed: "),
        ("#" + "x" * 300_000, "has more than 262,144 bytes"),
        ("\ud800", "cannot be read"),
    ],
    ids=lambda text: text[:12].strip(),
)
def test_suites_of_any_content(tmp_path, text, said):
    file, soon = tmp_path / "s.toml", limited()
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UsageError, match=said) as caught:
        read_suite(file)
    assert "s.toml" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert soon()


def test_a_suite_may_have_dots_where_they_are_text(tmp_path):
    (tmp_path / "s.toml").write_text(f"{HEAD}summary = 'a {'.' * 100} b. {'c. ' * 30}'\ntimeout = {MOST_SECONDS}\n")
    assert read_suite(tmp_path / "s.toml").timeout == MOST_SECONDS


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 1e10},
        {"timeout": float("inf")},
        {"seed": 10**5000},
        {"samples": 10**5000},
        {"nfe": 10**5000},
        {"nfe": [2**40]},
        {"guidance": float("nan")},
        {"batch": 10**30},
        {"solvers": "," * 10**5},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_python(tmp_path, options):
    (tmp_path / "s.toml").write_text(HEAD)
    with pytest.raises(UsageError) as caught:
        override(read_suite(tmp_path / "s.toml"), **options)
    assert len(str(caught.value)) < 1000
