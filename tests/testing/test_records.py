"""What listing a plugin costs, in a process of its own, and what is wrong with the plugin as a whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from bnsbench.contract import PluginHost
from bnsbench.testing.records import Subject, listing, plugin
from tests.contract.offers import HEADER, install, write

HOOK = """
@hookimpl
def bnsbench_solvers():
    yield SolverSpec("mine", "bnsbench.solvers.runge_kutta:euler", "Somebody's solver.")
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def subject(host):
    return Subject(host, host.solver("mine"))


@pytest.fixture(autouse=True)
def _no_stand_in_stays() -> Iterator[None]:
    """Forget the empty module that stands in for scikit-learn, which other tests of this process need."""
    before = sys.modules.get("sklearn")
    yield
    if sys.modules.get("sklearn") is not before:
        del sys.modules["sklearn"]


@pytest.mark.parametrize(("heavy", "status"), [("", "passed"), ("import sklearn\n", "failed")])
def test_packages_are_listed_without_heavy_imports(site, monkeypatch, heavy, status):
    install(site, f"costly_{status}", heavy + HEADER + HOOK)
    (site / "sklearn.py").write_text("")  # the name is what counts, and this one loads at once
    monkeypatch.setenv("BNSBENCH_PLUGINS", f"costly_{status}")
    found = listing(subject(PluginHost.load()))
    assert found.status == status
    assert found.finding == ("" if status == "passed" else f"Listing the plugin 'costly_{status}' imports sklearn.")


def test_in_a_single_file_a_heavy_import_is_only_hinted_at(site, monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")
    (site / "sklearn.py").write_text("")
    found = listing(subject(PluginHost.load([write(site, "heavy", "import sklearn\n" + HEADER + HOOK)])))
    assert (found.status, found.finding) == ("hint", "Listing the plugin 'heavy' imports sklearn.")


def test_other_plugins_are_not_blamed_on_this_one(site, monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")
    (site / "sklearn.py").write_text("")
    heavy = write(site, "heavy", "import sklearn\n" + HEADER)
    assert listing(subject(PluginHost.load([write(site, "light", HEADER + HOOK), heavy]))).status == "passed"


def test_faults_of_the_plugin_are_the_component_s_too(site, monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")
    mistyped = f"{HEADER}{HOOK}\n@hookimpl\ndef bnsbench_metric():\n    return ()\n"
    found = plugin(subject(PluginHost.load([write(site, "mistyped", mistyped)])))
    assert found.status == "failed"
    assert "there is no hook 'bnsbench_metric'; did you mean 'bnsbench_metrics'?" in found.finding


def test_what_a_plugin_prints_at_any_time_spoils_no_finding(site, monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")
    loud = "import atexit\natexit.register(print, '{exit')\nprint('{import')\n" + HEADER + HOOK
    assert listing(subject(PluginHost.load([write(site, "loud", loud)]))).status == "passed"
