"""The commands around suites: run, leaderboard, compare, verify."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bnsbench.suite.store import ResultStore

TINY = Path(__file__).parent.parent / "suite" / "tiny_plugin.py"

SUITE = """
samples = 20
batch = 16
nfe = [2, 4]
metrics = ["psnr"]
solvers = ["steps", "pairs"]
models = [{ name = "tiny", tolerance = 1e-4 }]
"""


@pytest.fixture
def suite(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(SUITE)
    return file


@pytest.fixture
def run(bnsbench, suite):
    return lambda *arguments: bnsbench("run", suite, "--plugin", TINY, "--device", "cpu", *arguments)


def test_run_shows_the_leaderboard_and_where_the_results_are(run, tmp_path):
    done = run()
    assert done.code == 0
    assert "tiny, w = 0: psnr in dB by NFE" in done.out
    assert "runs/small: 4 ok; 4 run now." in done.out
    assert "4 cells, 4 to run." in done.err
    assert "runs/small: 4 ok; 0 run now." in run().out
    assert len(pd.read_csv(tmp_path / "runs" / "small" / "leaderboard.csv")) == 4


def test_components_of_a_single_file_appear_in_the_leaderboard(run, tmp_path):
    assert run("--solver", "live,learned", "--metric", "width", "--model", "plain", "--nfe", "2").code == 0
    frame = pd.read_csv(tmp_path / "runs" / "small" / "leaderboard.csv")
    assert frame[["model", "solver", "status"]].to_numpy().tolist() == [["plain", "live", "ok"], ["plain", "learned", "ok"]]
    assert frame["width"].notna().all()


def test_dry_run_lists_cells_and_touches_nothing(run, tmp_path):
    done = run("--dry-run", "--nfe", "3,4", "--guidance", "0,1")
    assert done.code == 0
    # 20 samples x (3 + 4 + 4 evaluations) x (1 + 2 forwards)
    assert "6 cells to run, 2 skipped; results in" in done.out
    assert "Network forwards: 660 for sampling, about 9,600 for ground truth and 0 for training 0 solvers." in done.out
    assert "skipped: pairs spends 2, 4, 6" in done.out
    assert not (tmp_path / "runs").exists()
    plan = json.loads(run("--dry-run", "--json").out)
    assert [cell["forwards"] for cell in plan["cells"]] == [40, 80, 40, 80]
    assert (plan["finished"], plan["left"], plan["skipped"]) == (0, 4, 0)
    assert plan["estimate"] == {"sampling": 240, "truth": 3200, "training": 0, "hours": None}


def test_dry_run_tells_shipped_solvers_from_those_to_train(bnsbench):
    asked = ("run", "default", "--dry-run", "--model", "digits-ot", "--solver", "bns", "--guidance", "0", "--nfe", "8,9")
    done = bnsbench(*asked)
    assert [line.split()[-1] for line in done.out.splitlines() if " bns " in line] == ["shipped", "trained"]
    assert "for training 1 solvers" in done.out
    assert "for training 2 solvers" in bnsbench(*asked, "--retrain").out


def test_dry_run_and_run_agree_on_what_is_left(run, bnsbench):
    run("--nfe", "2,3")
    dry = run("--dry-run", "--nfe", "2,3,4")
    # 20 samples x 4 evaluations x two solvers
    assert "2 cells to run, 1 skipped; results in runs/small.\n3 cells are finished already.\n" in dry.out
    assert "Network forwards: 160 for sampling" in dry.out
    assert dry.out.count(" finished\n") == 3
    plan = json.loads(run("--dry-run", "--nfe", "2,3,4", "--json").out)
    assert (plan["finished"], plan["left"], plan["skipped"], plan["estimate"]["sampling"]) == (3, 2, 1, 160)
    assert [cell["finished"] for cell in plan["cells"]] == [True, True, False, True, False, False]
    assert [cell["skip"] is not None for cell in plan["cells"]] == [False] * 4 + [True, False]
    assert "6 cells, 2 to run." in run("--nfe", "2,3,4").err
    dry = run("--dry-run", "--nfe", "2,3,4")
    assert "0 cells to run, 1 skipped; results in runs/small.\n5 cells are finished already.\n" in dry.out
    assert "Network forwards: 0 for sampling, about 0 for ground truth and 0 for training 0 solvers." in dry.out
    assert "5 cells to run, 1 skipped" in run("--dry-run", "--nfe", "2,3,4", "--fresh").out


def test_published_results_answer_no_cell(run, tmp_path):
    (tmp_path / "results").mkdir()
    run("--results", "results")
    assert "runs/small: 4 ok; 4 run now." in run().out


def test_minus_zero_is_zero(run):
    run("--guidance", "0")
    assert "0 run now" in run("--guidance=-0").out
    assert "0 run now" in run("--guidance=-0.0,0").out


def test_json_is_the_outcome_alone(run):
    done = run("--json", "--solver", "steps,raises")
    assert done.code == 1
    outcome = json.loads(done.out)
    assert (outcome["counts"], outcome["exit_code"]) == ({"ok": 2, "failed": 2}, 1)
    assert "ValueError: I do not feel like it" in outcome["failures"][0]["reason"]


def test_failed_cells_are_named_and_exit_with_1(run):
    done = run("--solver", "steps", "--solver", "raises")
    assert done.code == 1
    assert "failed: tiny_w0_raises_nfe2" in done.err
    assert "failed" in done.out
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--solver", "stepz"), "did you mean 'steps'"),
        (("--model", "tinyy"), "did you mean 'tiny'"),
        (("--nfe", "0"), "--nfe takes whole numbers of at least 1, separated by commas, not '0'"),
        (("--nfe", "4,four"), "not 'four'"),
        (("--guidance", "minus-one"), "--guidance takes numbers of at least 0, separated by commas, not 'minus-one'"),
        (("--guidance=-1",), "not '-1'"),
        (("--guidance", "nan"), "not 'nan'"),
        (("--guidance", "inf"), "not 'inf'"),
        (("--executor", "dask"), "There is no executor 'dask'"),
        (("--metric", "loudness"), "There is no metric 'loudness'"),
        (("--samples", "0"), "samples"),
        (("--seed=-3",), "seed"),
    ],
)
def test_misuse_is_one_sentence_and_exits_with_2(run, tmp_path, arguments, said):
    done = run(*arguments)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "said"), [("nfe = [", "not valid TOML"), ('plugins = ["warp"]\n' + SUITE, "needs the plugin 'warp'")]
)
def test_wrong_suite_file_exits_with_2(run, suite, text, said):
    suite.write_text(text)
    done = run()
    assert (done.code, said in done.err) == (2, True)
    assert len(done.err.strip().splitlines()) == 1


def test_results_that_cannot_be_written_exit_with_1(run, tmp_path):
    (tmp_path / "taken").write_text("")
    done = run("--results", tmp_path / "taken")
    assert done.code == 1
    assert "cannot be written" in done.err
    assert "Traceback" not in done.err


def test_interrupt_says_that_the_command_resumes(suite, tmp_path):
    # Test runners in the background ignore interrupts, and what they start inherits that.
    heed = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    program = f"{heed} from bnsbench.cli import main; main(sys.argv[1:])"
    arguments = ["run", str(suite), "--plugin", str(TINY), "--device", "cpu", "--solver", "steps,hangs"]
    environment = {**os.environ, "BNSBENCH_CACHE": str(tmp_path / "cache"), "BNSBENCH_PLUGINS": ""}
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("runs/small/cells/*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == "Interrupted: what is finished is kept, and the same command resumes."
    assert "Traceback" not in said
    assert len(list(tmp_path.glob("runs/small/cells/*.json"))) == 2


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "latex", "json"])
def test_leaderboard_in_every_format(run, bnsbench, tmp_path, form):
    run()
    shown = bnsbench("leaderboard", "runs/small", "--format", form)
    assert (shown.code, "steps" in shown.out) == (0, True)
    saved = bnsbench("leaderboard", "runs", "--format", form, "--output", tmp_path / "saved")
    assert (saved.code, saved.out) == (0, "")
    assert "steps" in (tmp_path / "saved").read_text()


@pytest.mark.parametrize("view", ["ranks", "profile", "nfe"])
def test_leaderboard_in_every_view(run, bnsbench, view):
    run()
    shown = bnsbench("leaderboard", "runs/small", "--view", view)
    assert (shown.code, "steps" in shown.out, shown.err) == (0, True, "")
    rows = json.loads(bnsbench("leaderboard", "runs/small", "--view", view, "--format", "json").out)
    table = bnsbench("leaderboard", "runs/small", "--view", view, "--format", "csv").out
    assert len(table.splitlines()) == len(rows) + 1
    assert {row["solver"] for row in rows} == {"steps", "pairs"}


REPORT = """
from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.specs import ReportSpec

@hookimpl
def bnsbench_reports():
    yield ReportSpec("told", ":told", parameters={"metric": "", "view": "standings"})
    yield ReportSpec("bare", ":bare")

def told(frame, metric, view):
    return f"{len(frame)} rows of {metric} in {view}"

def bare(frame):
    return f"{len(frame)} rows"
"""


def test_reports_of_plugins_are_told_metric_and_view_if_they_ask(run, bnsbench, tmp_path):
    run()
    (tmp_path / "words.py").write_text(REPORT)
    shown = ("leaderboard", "runs/small", "--plugin", "words.py", "--format")
    assert bnsbench(*shown, "told", "--metric", "psnr", "--view", "nfe").out == "4 rows of psnr in nfe"
    assert bnsbench(*shown, "told[view=ranks]").out == "4 rows of  in ranks"
    assert bnsbench(*shown, "bare").out == "4 rows"
    refused = bnsbench(*shown, "bare", "--view", "nfe")
    assert refused.code == 2
    assert "The report 'bare' has no choice of a view, so it cannot show 'nfe'." in refused.err


def test_leaderboard_of_the_further_measures(run, bnsbench):
    run()
    shown = bnsbench("leaderboard", "runs/small")
    assert "--metric psnr_mse" in shown.out
    assert "--metric psnr_p05" in shown.out
    for measure in ("psnr_mse", "psnr_p05"):
        shown = bnsbench("leaderboard", "runs/small", "--metric", measure)
        assert (shown.code, f"tiny, w = 0: {measure} in dB by NFE" in shown.out) == (0, True)
        assert "--metric" not in shown.out
        assert " *" in shown.out


@pytest.mark.parametrize(("encoding", "form"), [("cp1252", "table"), ("latin-1", "markdown"), ("ascii", "csv")])
def test_leaderboard_on_streams_that_cannot_write_every_character(run, bnsbench, tmp_path, encoding, form):
    """The legend explains a mark that is in no encoding but Unicode's."""
    run()
    program = "from bnsbench.cli import main; import sys; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", program, "leaderboard", "runs/small", "--format", form, "--metric", "psnr"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding, "BNSBENCH_PLUGINS": ""},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode(encoding)
    if form != "csv":
        assert "~ marks" in text if form == "markdown" else "~: cannot be told from it" in text


def test_leaderboard_of_unfinished_results_says_so(run, bnsbench, tmp_path):
    run()
    next(tmp_path.glob("runs/small/cells/*.json")).unlink()
    shown = bnsbench("leaderboard", "runs/small")
    assert (shown.code, "1 of 4 cells have not been run yet." in shown.err) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("absent",), 1),
        (("runs", "--metric", "loudness"), 2),
        (("runs", "--format", "pdf"), 2),
        (("runs", "--view", "round"), 2),
        (("runs", "--format", "csv[view=round]"), 2),
        (("runs", "--format", "latex[view=round]"), 2),
        (("runs", "--view", "nfe", "--metric", "loudness"), 2),
    ],
)
def test_leaderboard_misused(run, bnsbench, arguments, code):
    run()
    done = bnsbench("leaderboard", *arguments)
    assert done.code == code
    assert len(done.err.strip().splitlines()) == 1


def test_verify_passes_and_fails(run, bnsbench, tmp_path):
    run()
    done = bnsbench("verify", "runs/small", "--plugin", TINY, "--device", "cpu", "--quiet")
    assert (done.code, "4 records are intact, and 4 cells run again agree" in done.out) == (0, True)
    table = tmp_path / "runs" / "small" / "leaderboard.csv"
    table.write_text(table.read_text().replace("dB", "db").replace(",4,", ",5,", 1))
    done = bnsbench("verify", "runs/small", "--plugin", TINY)
    assert (done.code, "leaderboard.csv has been changed" in done.out) == (1, True)
    assert bnsbench("verify", "runs/small", "--cells", "few").code == 2


def test_verify_in_json(run, bnsbench, tmp_path):
    run()
    common = ("verify", "runs/small", "--plugin", TINY, "--device", "cpu", "--seed", 3, "--json")
    found = json.loads(bnsbench(*common).out)
    checked = found.pop("checked")
    counts = {"records": 4, "rerun": 4, "seed": 3}
    assert found == {"folder": "runs/small", "agrees": True, **counts, "faults": [], "unchecked": [], "notes": []}
    told = {"records": 4, "solvers": 0, "cells": 4, "chosen": 4, "trained": 0, "retrained": 0, "retried": 0, "without": {}}
    assert {name: checked[name] for name in told} == told
    assert checked["files"] == len((tmp_path / "runs" / "small" / "SHA256SUMS").read_text().splitlines())
    assert checked["chances"] == [{"forged": 1, "missed_at_most": 0.0, "missed_at_random": 0.0}]
    assert checked["numbers"] > 4 * 20
    table = tmp_path / "runs" / "small" / "leaderboard.csv"
    table.write_text(table.read_text().replace(",4,", ",5,", 1))
    done = bnsbench(*common)
    assert (done.code, json.loads(done.out)["agrees"]) == (1, False)
    assert any("leaderboard.csv" in fault for fault in json.loads(done.out)["faults"])


def test_verify_says_how_much_it_has_checked(run, bnsbench):
    run("--nfe", "2,3,4")
    common = ("verify", "runs/small", "--plugin", TINY, "--device", "cpu", "--quiet", "--seed", 3)
    lines = bnsbench(*common, "--cells", 2).out.splitlines()
    assert lines[0] == "runs/small: 6 records are intact, and 2 cells run again agree with theirs (seed 3)."
    assert "6 records and 0 solver files by themselves; 2 of 5 cells that gave a result were run again" in lines[1]
    assert lines[2:] == [
        "Without a result: 1 skipped; 0 of these were run again.",
        "If k cells were forged, where they are chosen least, none of them was run again with a chance of 60 % for k = 1,"
        " 0 % for k = 5.",
    ]
    assert "none that is forged beyond the tolerances could be missed" in bnsbench(*common, "--cells", "all").out
    assert "100 % for k = 1" in bnsbench(*common, "--cells", 0).out


def test_verify_trains_again(run, bnsbench):
    run("--solver", "learned,steps")
    common = ("verify", "runs/small", "--plugin", TINY, "--device", "cpu", "--quiet", "--retrain")
    done = bnsbench(*common)
    assert (done.code, "2 of them with a trained solver, 2 of these trained again" in done.out) == (0, True)


def test_verify_names_what_it_could_not_check(run, bnsbench):
    run()
    done = bnsbench("verify", "runs/small", "--device", "cpu", "--quiet")
    assert done.code == 3
    told = [line for line in done.out.splitlines() if line.startswith("Not checked: ")]
    assert len(told) == 3
    assert told[0].startswith("Not checked: The solver steps of the plugin tiny_plugin")


@pytest.mark.parametrize("cells", ["few", "²", "-1", "1" * 5000])
def test_verify_takes_numbers_of_cells(run, bnsbench, cells):
    run()
    done = bnsbench("verify", "runs/small", f"--cells={cells}")
    assert (done.code, "--cells takes a whole number or 'all'" in done.err) == (2, True)


def test_compare_shows_what_changed(run, bnsbench):
    run()
    run("--results", "other", "--solver", "steps", "--seed", "0")
    assert bnsbench("compare", "runs/small", "runs").out.strip() == "Nothing differs."
    done = bnsbench("compare", "runs/small", "other/small")
    assert (done.code, done.out.splitlines()[0]) == (0, "2 only in A; each interval has 95 % by itself.")
    assert done.out.count("only in A") == 3
    assert len(json.loads(bnsbench("compare", "runs", "other", "--json").out)) == 2


@pytest.mark.parametrize("sides", [("runs", "other"), ("other", "runs")])
def test_compare_leaves_out_what_another_version_of_a_model_gave(run, bnsbench, sides):
    """As the leaderboard does: a number of an old model is no change of a solver."""
    for folder in ("runs", "other"):
        run("--results", folder)
    store = ResultStore(Path("runs/small"))
    record = next(store.records())
    psnr = record.metrics["psnr"]
    assert psnr.value is not None
    score = replace(psnr, value=psnr.value - 1)
    store.write(replace(record, model={**record.model, "fingerprint": "old"}, metrics={"psnr": score}))
    done = bnsbench("compare", *sides, "--json")
    assert done.err == "runs/small: Records of the model tiny come from 2 versions; 1 are left out: run them again.\n"
    rows = json.loads(done.out)
    lost, only = ("failed -> ok", "only in B") if sides[0] == "runs" else ("ok -> failed", "only in A")
    assert [row["verdict"] for row in rows] == [lost, *[only] * 3]
    assert bnsbench("leaderboard", "runs").err == done.err.removeprefix("runs/small: ")
