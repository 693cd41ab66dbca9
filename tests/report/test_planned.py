"""Results of components that are not installed: they are named with their plugin, and everything else is checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bnsbench.api.running import run_and_report
from bnsbench.contract import PluginHost
from bnsbench.report.planned import difference_from_installed
from bnsbench.report.verify import NOT_CHECKED, verify
from bnsbench.suite.progress import RunListener
from bnsbench.suite.run import RunOptions
from bnsbench.suite.store import ResultStore

TINY = Path(__file__).parents[1] / "suite" / "tiny_plugin.py"

SUITE = """
name = "small"
samples = 10
nfe = [2]
solvers = ["euler"]
metrics = ["psnr"]
"""

ENTRIES = {
    "model": 'models = ["ring8", "plain"]\n',
    "solver": 'models = ["ring8", { name = "aniso5", solvers = ["midpoint", "steps"] }]\n',
    "metric": 'models = ["ring8", { name = "aniso5", metrics = ["psnr", "width"] }]\n',
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results of a suite with one component of the plugin, by the kind of that component."""
    folder, found = tmp_path_factory.mktemp("made"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BNSBENCH_CACHE", str(folder / "cache"))
        patch.setenv("BNSBENCH_PLUGINS", "")
        for kind, models in ENTRIES.items():
            file = folder / f"{kind}.toml"
            file.write_text(SUITE + models)
            options = RunOptions(str(file), results=folder / kind, device="cpu")
            run_and_report(options, PluginHost.load([TINY]), RunListener())
            found[kind] = folder / kind / "small"
    return found


@pytest.fixture(params=ENTRIES)
def kind(request):
    return request.param


@pytest.fixture
def store(made, kind, tmp_path):
    shutil.copytree(made[kind], tmp_path / "small")
    return ResultStore(tmp_path / "small")


def _verify(store, host=None, **options):
    return verify(store, host or PluginHost.load(), RunListener(), cells=None, device="cpu", **options)


NAMED = {"model": "plain", "solver": "steps", "metric": "width"}
RERUN = {"model": 1, "solver": 2, "metric": 2}


def test_with_the_plugin_all_is_checked(store, kind):
    found = _verify(store, PluginHost.load([TINY]))
    assert (found.faults, found.unchecked, found.exit_code) == ((), (), 0)


def test_without_it_the_rest_is_checked_and_nothing_passes_as_verified(store, kind):
    found = _verify(store)
    assert (found.faults, found.exit_code, found.rerun) == ((), NOT_CHECKED, RERUN[kind])
    (told,) = found.unchecked
    assert told.startswith(f"The {kind} {NAMED[kind]} of the plugin tiny_plugin")
    assert "is not installed here" in told


def test_the_rest_may_be_forged(store, kind):
    record = next(record for record in store.records() if record.cell["model"]["name"] == "ring8")
    file = store.record_file(record.key)
    file.write_text(file.read_text().replace('"nfe": 2', '"nfe": 3'))
    found = _verify(store)
    assert found.exit_code == 1
    assert len(found.unchecked) == 1


def test_a_qualified_name_says_its_plugin(store, kind):
    text = store.suite_file.read_text()
    store.suite_file.write_text(text.replace(f'"{NAMED[kind]}"', f'"elsewhere/{NAMED[kind]}"'))
    told = " ".join(_verify(store).unchecked)
    assert f"The {kind} elsewhere/{NAMED[kind]} of the plugin elsewhere" in told


def test_versions_come_from_the_environment(store, kind):
    file = store.environment_file
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "plugins": {**content["plugins"], "tiny_plugin": "1.2.3"}}))
    (told,) = _verify(store).unchecked
    assert "of the plugin tiny_plugin 1.2.3 is not installed" in told


def test_a_folder_without_a_readable_suite_is_still_read(store, kind):
    store.suite_file.write_text("[")
    found = _verify(store)
    assert found.exit_code == 1
    assert found.records == len(store.planned())
    assert any("is not valid TOML" in fault for fault in found.faults)


def test_a_damaged_plan_is_that_of_the_suite(store, kind):
    before = len(store.planned())
    store.plan_file.write_text("{")
    found = _verify(store, PluginHost.load([TINY]))
    assert found.records == before
    assert any("plan.json is absent or damaged" in fault for fault in found.faults)


def test_a_suite_of_an_installed_name_is_compared_with_it(made, tmp_path):
    host = PluginHost.load()
    store = ResultStore(tmp_path / "default")
    store.folder.mkdir()
    text = host.suite("default").file.read_text()
    store.suite_file.write_text('name = "default"\n' + text)
    assert difference_from_installed(store, host) == ""
    store.suite_file.write_text('name = "default"\n' + text.replace('"euler", ', "", 1))
    assert difference_from_installed(store, host).endswith("it differs in solvers.")
    assert difference_from_installed(ResultStore(made["model"]), host) == ""
