"""New packages: complete, valid, and their components keep the contract as they are."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from bnsbench import __version__
from bnsbench.contract import PluginHost, scaffold
from bnsbench.contract.scaffold import write_package
from bnsbench.errors import UsageError
from bnsbench.testing import check, records

KINDS = ["solver", "model", "metric"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")
    yield
    for name in [name for name in sys.modules if name.startswith("bnsbench_my_")]:
        del sys.modules[name]


@pytest.mark.parametrize("kind", KINDS)
def test_the_package_is_complete(kind):
    folder = write_package(kind, f"my-{kind}")
    assert {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} == {
        ".gitignore",
        ".github/workflows/tests.yml",
        "README.md",
        "pyproject.toml",
        f"bnsbench_my_{kind}/__init__.py",
        f"bnsbench_my_{kind}/plugin.py",
        f"bnsbench_my_{kind}/{kind}.py",
        f"tests/test_{kind}.py",
    }
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == f"bnsbench-my-{kind}"
    assert project["dependencies"] == [f"bnsbench>={__version__}"]
    assert project["entry-points"]["bnsbench"] == {f"my-{kind}": f"bnsbench_my_{kind}.plugin"}
    assert f"bnsbench check my-{kind}\n" in (folder / ".github/workflows/tests.yml").read_text()
    for file in folder.rglob("*.py"):
        compile(file.read_text(), file, "exec")


@pytest.mark.parametrize("kind", KINDS)
def test_its_readme_says_how_to_install_it_and_nothing_of_the_example(kind):
    text = (write_package(kind, f"my-{kind}") / "README.md").read_text()
    assert [line.strip() for line in text.splitlines() if "pip install" in line] == ["python -m pip install -e ."]
    assert not any(word in text for word in ("stage=", "two evaluations", "blob", "by class", "relative"))


@pytest.mark.parametrize(
    ("source", "requirement"),
    [
        ("", f"bnsbench>={__version__}"),
        ("git+https://example.org/bnsbench.git@main", "bnsbench @ git+https://example.org/bnsbench.git@main"),
        ("../bnsbench", "../bnsbench"),
    ],
)
def test_its_ci_installs_what_exists(source, requirement):
    folder = write_package("solver", "my-solver", source=source)
    text = (folder / ".github/workflows/tests.yml").read_text()
    assert f'  BNSBENCH: "{requirement}" #' in text
    assert '- run: python -m pip install "$BNSBENCH" -e . pytest\n' in text


def test_the_source_is_one_setting(monkeypatch):
    monkeypatch.setattr(scaffold, "SOURCE", "git+https://example.org/bnsbench")
    folder = write_package("solver", "my-solver")
    assert '"bnsbench @ git+https://example.org/bnsbench"' in (folder / ".github/workflows/tests.yml").read_text()


@pytest.mark.parametrize("source", ["a b", 'https://"', "$HOME", "one\ntwo"])
def test_a_source_that_pip_cannot_have(source):
    with pytest.raises(UsageError, match="pip cannot install bnsbench from"):
        write_package("solver", "my-solver", source=source)
    assert list(Path().iterdir()) == []


def test_every_template_is_used():
    """A template that nothing renders would be dead weight in the wheel."""
    shipped = {str(file.relative_to(scaffold.TEMPLATES)) for file in scaffold.TEMPLATES.rglob("*") if file.is_file()}
    named = {source.replace("$kind", kind) for source in scaffold._FILES for kind in KINDS}
    assert shipped == {f"{name}.template" for name in named}


@pytest.mark.parametrize("kind", KINDS)
def test_its_component_keeps_the_contract(kind, monkeypatch):
    folder = write_package(kind, f"my-{kind}")
    monkeypatch.syspath_prepend(str(folder))
    plugin = folder / f"bnsbench_my_{kind}" / "plugin.py"

    def found(subject):
        return {"modules": [], "fingerprint": subject.selection.make().fingerprint() if kind == "model" else ""}

    monkeypatch.setattr(records, "_in_another_process", found)
    report = check(f"my-{kind}", host=PluginHost.load([plugin]))
    brought = {result.name for result in report.results if result.status != "not applicable"}
    assert {result.status for result in report.results if result.name in brought} == {"passed"}
    # What the template's model need not bring.
    assert {result.name for result in report.results} - brought <= {"features", "differentiable", "judge"}


@pytest.mark.parametrize(
    "name", ["", "My-solver", "my_solver", "2step", "my--solver", "-my", "my-", "../my", "lambda", "a b"]
)
def test_names_that_cannot_be_meant(name):
    with pytest.raises(UsageError, match="cannot name a solver: write lower-case letters"):
        write_package("solver", name)
    assert list(Path().iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="There is a 'there' already; choose another folder with --output"):
        write_package("solver", "my-solver", Path("there"))
    assert list((tmp_path / "there").iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="The folder 'file/inside' cannot be written: Not a directory"):
        write_package("solver", "my-solver", Path("file/inside"))
