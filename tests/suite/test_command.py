"""The command that a run is."""

import json
import shlex
from pathlib import Path

from typer.testing import CliRunner

from bnsbench.cli.app import app
from bnsbench.suite.command import command_of, commands_with
from bnsbench.suite.run import RunOptions


def test_options_that_say_nothing_new_are_left_out() -> None:
    assert command_of(RunOptions("quick", executor="auto", results="elsewhere")) == "bnsbench run quick"


def test_every_option_is_as_the_command_line_takes_it() -> None:
    options = RunOptions(
        suite=Path("far/away/mine.toml"),
        models=["digits-ot", "speech[task=infill]"],
        solvers="euler",
        nfe=[4, 8],
        guidance=2.0,
        seed=0,
        dtype="float64",
        device="cuda:1",
        executor="processes",
        workers=3,
        trust_records=True,
    )
    assert shlex.split(command_of(options)) == [
        *("bnsbench", "run", "mine.toml", "--model", "digits-ot", "--model", "speech[task=infill]", "--solver", "euler"),
        *("--nfe", "4,8", "--guidance", "2", "--seed", "0", "--dtype", "float64", "--device", "cuda:1"),
        *("--executor", "processes", "--workers", "3", "--trust-records"),
    ]


def test_a_run_tells_its_commands_in_order_and_each_once(tmp_path: Path) -> None:
    runner = CliRunner()
    first = ["run", "quick", "--model", "ring8", "--solver", "euler", "--nfe"]
    for budget in (["4"], ["4,8", "--seed", "0"], ["4"], ["4,8"]):  # the last finds all cells finished
        found = runner.invoke(app, [*first, *budget, "--results", str(tmp_path), "--executor", "local", "--quiet"])
        assert found.exit_code == 0, found.output
    told = json.loads((tmp_path / "quick" / "environment.json").read_text(encoding="utf-8"))["commands"]
    expected = [[*first, *budget, "--executor", "local"] for budget in (["4"], ["4,8", "--seed", "0"])]
    assert [shlex.split(command)[1:] for command in told] == expected


def test_a_damaged_environment_tells_of_no_commands(tmp_path: Path) -> None:
    file = tmp_path / "environment.json"
    for content in ("{", "[]", '{"commands": 3}', '{"commands": [1, {}]}'):
        file.write_text(content, encoding="utf-8")
        assert commands_with("bnsbench run", file) == ["bnsbench run"]
