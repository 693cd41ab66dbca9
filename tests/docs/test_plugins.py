"""docs/reference/plugins.md: every hook and every field is there as it is, and the examples work."""

from __future__ import annotations

import ast
import csv
import dataclasses
import inspect
import re

import pytest

from bnsbench.cli import main
from bnsbench.contract import PluginHost, hookspecs, specs
from bnsbench.testing import check, records
from tests.docs.replay import ROOT

TEXT = (ROOT / "docs" / "reference" / "plugins.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", TEXT, re.M | re.S))
EXAMPLES = dict(re.findall(r"`([\w.]+)`:\n\n```(?:python|toml)\n(.*?)```", TEXT, re.S))
HOOKS = {name: each for name, each in vars(hookspecs).items() if hasattr(each, f"{hookspecs.GROUP}_spec")}
RECORDS = {name: each for name, each in vars(specs).items() if isinstance(each, type) and dataclasses.is_dataclass(each)}
FILLED_IN = {"provider"}
SELDOM = {"later"}
"""What a record has only once it has a history."""


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")
    for name, content in EXAMPLES.items():
        (tmp_path / name).write_text(content)


@pytest.fixture
def files(tmp_path):
    return [tmp_path / name for name in EXAMPLES if name.endswith(".py")]


def defaults(each: dataclasses.Field) -> str:
    if each.default_factory is not dataclasses.MISSING:
        return f"`{each.default_factory()!r}`"
    return "required" if each.default is dataclasses.MISSING else f"`{each.default!r}`"


def own_fields(record: type) -> list[dataclasses.Field]:
    return [each for each in dataclasses.fields(record) if each.name in record.__annotations__]


def test_there_are_hooks_and_records():
    assert len(HOOKS) >= 7
    assert {"Spec", "ModelSpec", "SuiteSpec", "Budgets"} <= set(RECORDS)


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_its_signature_and_an_example(hook):
    blocks = re.findall(r"```python\n(.*?)```", SECTIONS[hook], re.S)
    assert blocks[0] == f"def {hook}{inspect.signature(HOOKS[hook])}\n".replace("'", "")
    assert f"@hookimpl\ndef {hook}(" in blocks[1]


def test_no_hook_is_made_up():
    assert {name for name in SECTIONS if name.startswith("bnsbench_")} == set(HOOKS)


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_has_its_type_and_default(name):
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (`.*?`|required) \| .+ \|$", SECTIONS[name], re.M)
    plain = [(field, kind.replace("\\|", "|"), default) for field, kind, default in rows]
    expected = [(each.name, f"`{each.type}`".replace('"', "'"), defaults(each)) for each in own_fields(RECORDS[name])]
    assert plain == expected


def test_every_field_is_set_in_an_example():
    used: dict[str, set[str]] = {}
    for name, content in EXAMPLES.items():
        for node in ast.walk(ast.parse(content)) if name.endswith(".py") else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in RECORDS:
                used.setdefault(node.func.id, set()).update(keyword.arg or "" for keyword in node.keywords)
    missing = {
        name: {each.name for each in dataclasses.fields(record)} - FILLED_IN - SELDOM - used.get(name, set())
        for name, record in RECORDS.items()
        if name != "Spec"
    }
    assert not any(missing.values()), missing


def test_examples_are_without_fault(files):
    host = PluginHost.load(files)
    assert host.problems == ()
    assert {plugin.name for plugin in host.plugins} == {"builtin", *(file.stem for file in files)}


@pytest.mark.parametrize("name", ["cloud", "two-stage", "clipped", "stretched", "worst-pixel"])
def test_components_of_the_examples_keep_the_contract(files, monkeypatch, name):
    def found(subject):
        return {"modules": [], "fingerprint": subject.selection.make().fingerprint() if name == "cloud" else ""}

    monkeypatch.setattr(records, "_in_another_process", found)
    report = check(name, plugins=files)
    report.raise_if_failed()
    assert "hint" not in {result.status for result in report.results}


def test_suite_executor_report_exporter_and_observer_work(files, tmp_path, capsys):
    plugins = [word for file in files for word in ("--plugin", str(file))]

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as done:
            main([*words, *plugins])
        assert not done.value.code
        return capsys.readouterr().out

    run("run", "study", "--executor", "largest-first[least=2]", "--quiet")
    rows = list(csv.DictReader((tmp_path / "runs/study/leaderboard.csv").read_text().splitlines()))
    assert {(row["solver"], row["nfe"]) for row in rows} == {(s, n) for s in ("euler", "midpoint") for n in ("2", "4")}
    diary = (tmp_path / "diary.txt").read_text().splitlines()
    assert [re.findall(r"nfe(\d)", line)[0] for line in diary] == ["4", "4", "2", "2"]
    best = max((row for row in rows if row["nfe"] == "4"), key=lambda row: float(row["psnr"]))["solver"]
    assert f"ring8 at 4 NFE: {best}\n" in run("leaderboard", "runs/study", "--format", "winners")
    run("solver", "export", "euler", "out", "--nfe", "2", "--model", "ring8", "--to", "columns[digits=3]")
    assert (tmp_path / "out/columns.txt").read_text() == "0 1 0.5 0\n0.5 1 0.5 0.5\n"
