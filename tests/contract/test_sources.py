"""Where plugins come from: files, the local file, packages; which of them are allowed."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from bnsbench.contract import PluginHost
from bnsbench.errors import UsageError
from tests.contract.offers import GOOD, install, names, reasons, write


class TestSources:
    def test_builtins_alone_have_no_problem(self):
        host = PluginHost.load()
        assert host.plugins[0].name == "builtin"
        assert not reasons(host, "builtin")

    def test_file(self, tmp_path):
        file = write(tmp_path, "acme", GOOD)
        host = PluginHost.load([file])
        assert names(host, "acme") == ["alpha", "zeta"]
        plugin = host.plugins[-1]
        assert (plugin.name, plugin.origin, plugin.counts) == ("acme", str(file), {"solvers": 2})
        assert host.solver("alpha").make()("field", "x0", 4) == ("x0", 4, {})

    def test_file_leaves_no_bytecode_behind(self, tmp_path):
        PluginHost.load([write(tmp_path, "acme", GOOD)])
        assert [entry.name for entry in tmp_path.iterdir()] == ["acme.py"]

    def test_edited_file_gets_a_new_version_and_runs_its_new_code(self, tmp_path):
        file = write(tmp_path, "acme", GOOD)
        before = PluginHost.load([file]).solver("alpha")
        file.write_text(GOOD.replace("return x0, nfe", "return x0, -nfe"))
        after = PluginHost.load([file]).solver("alpha")
        assert before.spec.version != after.spec.version
        assert after.make()("field", "x0", 4)[1] == -4
        assert before.make()("field", "x0", 4)[1] == 4

    def test_unchanged_file_is_imported_once(self, tmp_path):
        file = write(tmp_path, "acme", GOOD)
        first, second = (PluginHost.load([file]).solver("alpha").resolve() for _ in range(2))
        assert first is second

    def test_missing_file(self, tmp_path):
        with pytest.raises(UsageError, match=r"nowhere\.py.* could not be read: No such file"):
            PluginHost.load([tmp_path / "nowhere.py"])

    @pytest.mark.usefixtures("plugins_allowed")
    def test_local_file(self, tmp_path):
        write(tmp_path, "bnsbench_local", GOOD)
        assert names(PluginHost.load(local=tmp_path), "bnsbench_local") == ["alpha", "zeta"]
        assert names(PluginHost.load(local=tmp_path / "elsewhere"), "bnsbench_local") == []

    def test_local_file_given_also_as_file_is_one_plugin(self, tmp_path):
        file = write(tmp_path, "bnsbench_local", GOOD)
        host = PluginHost.load([file], tmp_path)
        assert not reasons(host, "bnsbench_local")
        assert names(host, "bnsbench_local") == ["alpha", "zeta"]

    @pytest.mark.usefixtures("plugins_allowed")
    def test_package(self, site):
        install(site, "rockets", GOOD)
        host = PluginHost.load()
        plugin = next(plugin for plugin in host.plugins if plugin.name == "rockets")
        assert (plugin.version, plugin.origin) == ("1.5", "package acme-rockets")
        assert host.solver("rockets/alpha").spec.version == "1"
        assert host.solver("alpha").make()("field", "x0", 4)[1] == 4

    def test_two_plugins_of_one_name(self, tmp_path):
        (tmp_path / "other").mkdir()
        files = [write(tmp_path, "acme", GOOD), write(tmp_path / "other", "acme", GOOD)]
        host = PluginHost.load(files)
        assert names(host, "acme") == ["alpha", "zeta"]
        assert reasons(host, "acme") == [f"{files[1]} has the name of another plugin: {files[0]}."]

    def test_a_plugin_cannot_pose_as_built_in(self, tmp_path):
        host = PluginHost.load([write(tmp_path, "builtin", GOOD)])
        assert "has the name of another plugin: built in" in reasons(host, "builtin")[0]
        assert "alpha" not in names(host, "builtin")

    def test_worker_processes_load_the_same_plugins(self, tmp_path):
        host = PluginHost.load([write(tmp_path, "acme", GOOD)])
        file = tmp_path / "host.pickle"
        file.write_bytes(pickle.dumps(host))
        program = (
            f"import pickle; host = pickle.load(open({str(file)!r}, 'rb')); print(host.solver('zeta').make()(0, 'x', 8))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("('x', 8, {'flag': False")


class TestAllowList:
    @pytest.fixture(autouse=True)
    def _installed(self, site):
        install(site, "one", GOOD)
        install(site, "two", GOOD)

    @pytest.mark.parametrize(
        ("value", "loaded"), [("", set()), ("one", {"one"}), (" two , one,", {"one", "two"}), (None, {"one", "two"})]
    )
    def test_choice(self, value, loaded, monkeypatch):
        if value is None:
            monkeypatch.delenv("BNSBENCH_PLUGINS")
        else:
            monkeypatch.setenv("BNSBENCH_PLUGINS", value)
        assert {"one", "two"} & {plugin.name for plugin in PluginHost.load().plugins} == loaded

    def test_local_file_needs_to_be_listed(self, tmp_path, monkeypatch):
        write(tmp_path, "bnsbench_local", GOOD)
        monkeypatch.setenv("BNSBENCH_PLUGINS", "one")
        assert "bnsbench_local" not in {plugin.name for plugin in PluginHost.load(local=tmp_path).plugins}
        monkeypatch.setenv("BNSBENCH_PLUGINS", "bnsbench_local")
        assert "bnsbench_local" in {plugin.name for plugin in PluginHost.load(local=tmp_path).plugins}

    def test_files_are_loaded_in_any_case(self, tmp_path, monkeypatch):
        monkeypatch.setenv("BNSBENCH_PLUGINS", "")
        assert names(PluginHost.load([write(tmp_path, "acme", GOOD)]), "acme") == ["alpha", "zeta"]

    def test_unknown_name_is_a_problem(self, monkeypatch):
        monkeypatch.setenv("BNSBENCH_PLUGINS", "onne")
        assert reasons(PluginHost.load(), "onne") == [
            "BNSBENCH_PLUGINS asks for it, but it is not installed; did you mean 'one'?"
        ]
