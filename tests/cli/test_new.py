"""``bnsbench new``."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _builtins_alone(monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")


def test_a_new_package_and_what_comes_next(bnsbench, tmp_path):
    done = bnsbench("new", "solver", "two-stage", "--output", "somewhere")
    assert done.code == 0
    assert done.err.splitlines() == [
        "There is no bnsbench on the package index yet: for its CI file to run, set BNSBENCH in it, or use --source."
    ]
    assert bnsbench("new", "metric", "mine", "--source", "git+https://example.org/bnsbench").err == ""
    assert (tmp_path / "somewhere" / "bnsbench_two_stage" / "solver.py").is_file()
    assert done.out == (
        "Wrote somewhere; what it offers is in somewhere/bnsbench_two_stage/solver.py."
        " Install it, check it, and run its tests:\n\n"
        "    python -m pip install -e somewhere\n    bnsbench check two-stage\n    python -m pytest somewhere\n"
    )


def test_the_folder_has_the_package_s_name(bnsbench, tmp_path):
    assert bnsbench("new", "metric", "mine").code == 0
    assert (tmp_path / "bnsbench-mine" / "pyproject.toml").is_file()
    again = bnsbench("new", "metric", "mine")
    assert (again.code, again.err) == (
        2,
        "bnsbench: There is a 'bnsbench-mine' already; choose another folder with --output.\n",
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("solver", "euler"), "There is a solver 'euler' already; choose another name."),
        (("model", "My Model"), "'My Model' cannot name a model: write lower-case letters and digits"),
    ],
)
def test_names_that_cannot_be_used(bnsbench, tmp_path, words, said):
    done = bnsbench("new", *words)
    assert done.code == 2
    assert done.err.startswith(f"bnsbench: {said}")
    assert list(tmp_path.iterdir()) == []


def test_its_ci_installs_from_the_source_that_is_given(bnsbench, tmp_path):
    done = bnsbench("new", "solver", "mine", "--output", "there", "--source", "git+https://example.org/bnsbench")
    assert done.code == 0
    workflow = (tmp_path / "there/.github/workflows/tests.yml").read_text()
    assert '"bnsbench @ git+https://example.org/bnsbench"' in workflow
