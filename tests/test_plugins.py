"""The plugin host: loading, faults, name look-up and parameters."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.plugins import PluginHost, parse_selector, split_selectors
from bnsbench.plugins.selectors import did_you_mean

HEADER = """
from bnsbench.hookspecs import hookimpl
from bnsbench.specs import *
"""

GOOD = f"""{HEADER}
@hookimpl
def bnsbench_solvers():
    yield SolverSpec("zeta", ":scheme", parameters={{"flag": False, "count": 3, "size": 0.5, "grid": "uniform"}})
    yield SolverSpec("alpha", ":scheme")

def scheme(field, x0, nfe, **parameters):
    return x0, nfe, parameters
"""


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.py"
    file.write_text(text)
    return file


def install(folder: Path, name: str, text: str, version: str = "1.5") -> None:
    """Put a package with a `bnsbench` entry point of that name into the folder."""
    write(folder, f"{name}_module", text)
    info = folder / f"acme_{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme-{name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[bnsbench]\n{name} = {name}_module\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on sys.path; modules imported from it are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if name.endswith("_module"):
            del sys.modules[name]


def reasons(host: PluginHost, plugin: str) -> list[str]:
    return [problem.reason for problem in host.problems if problem.plugin == plugin]


def names(host: PluginHost, provider: str) -> list[str]:
    return [spec.name for spec in host.solvers if spec.provider == provider]


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

    def test_local_file(self, tmp_path):
        write(tmp_path, "bnsbench_local", GOOD)
        assert names(PluginHost.load(local=tmp_path), "bnsbench_local") == ["alpha", "zeta"]
        assert names(PluginHost.load(local=tmp_path / "elsewhere"), "bnsbench_local") == []

    def test_local_file_given_also_as_file_is_one_plugin(self, tmp_path):
        file = write(tmp_path, "bnsbench_local", GOOD)
        host = PluginHost.load([file], tmp_path)
        assert not reasons(host, "bnsbench_local")
        assert names(host, "bnsbench_local") == ["alpha", "zeta"]

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
        if value is not None:
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


FAULTS = {
    "import error": ("import nowhere_at_all", "it could not be loaded: ModuleNotFoundError.*line 1"),
    "syntax error": ("def broken(:", "it could not be loaded: SyntaxError"),
    "exit": ("raise SystemExit(3)", "it could not be loaded: SystemExit: 3"),
    "mistyped hook": (
        f"{HEADER}\n@hookimpl\ndef bnsbench_solver():\n    yield 1",
        "there is no hook 'bnsbench_solver'; did you mean 'bnsbench_solvers'",
    ),
    "mistyped and unmarked": (f"{HEADER}\ndef bnsbench_metric():\n    yield 1", "did you mean 'bnsbench_metrics'"),
    "unmarked": (f"{HEADER}\ndef bnsbench_solvers():\n    yield 1", "'bnsbench_solvers' is not marked with @bnsbench"),
    "arguments": (f"{HEADER}\n@hookimpl\ndef bnsbench_models(host):\n    yield 1", "it could not be loaded: .*host"),
    "raises": (
        f"{HEADER}\n@hookimpl\ndef bnsbench_models():\n    yield ModelSpec('a', 'a:b')\n    raise ValueError('boom')",
        r"bnsbench_models raised ValueError: boom \(bad\.py, line 8\)",
    ),
    "returns a record": (
        f"{HEADER}\n@hookimpl\ndef bnsbench_models():\n    return ModelSpec('a', 'a:b')",
        "bnsbench_models raised TypeError: 'ModelSpec' object is not iterable",
    ),
    "wrong type": (
        f"{HEADER}\n@hookimpl\ndef bnsbench_models():\n    yield MetricSpec('a', 'a:b')",
        "bnsbench_models yields MetricSpec.*which is not a ModelSpec",
    ),
    "bad name": (f"{HEADER}\n@hookimpl\ndef bnsbench_models():\n    yield ModelSpec('A b', 'a:b')", "lower-case"),
    "twice": (
        f"{HEADER}\n@hookimpl\ndef bnsbench_models():\n    yield ModelSpec('a', 'a:b')\n    yield ModelSpec('a', 'a:c')",
        "bnsbench_models yields 'a', a name that it has used before",
    ),
    "bad target": (f"{HEADER}\n@hookimpl\ndef bnsbench_models():\n    yield ModelSpec('a', 'nowhere')", "target 'nowhere'"),
    "bad parameter": (
        f"{HEADER}\n@hookimpl\ndef bnsbench_models():\n    yield ModelSpec('a', 'a:b', parameters={{'sizes': [1]}})",
        "default of 'sizes' is not a bool, int, float or str",
    ),
    "no suite file": (
        f"{HEADER}\n@hookimpl\ndef bnsbench_suites():\n    yield SuiteSpec('s', '/no/s.toml')",
        "whose file '/no/s.toml' does not exist",
    ),
}


class TestFaults:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_is_reported_and_stops_nothing_else(self, fault, tmp_path):
        text, expected = FAULTS[fault]
        host = PluginHost.load([write(tmp_path, "bad", text), write(tmp_path, "good", GOOD)])
        [reason] = reasons(host, "bad")
        assert "\n" not in reason
        assert re.search(expected, reason)
        assert names(host, "good") == ["alpha", "zeta"]
        assert not reasons(host, "good")

    def test_of_a_package_is_reported(self, site):
        install(site, "rockets", "import nowhere_at_all")
        host = PluginHost.load()
        assert "nowhere_at_all" in reasons(host, "rockets")[0]
        assert "rockets" not in {plugin.name for plugin in host.plugins}

    def test_sound_hooks_of_a_faulty_plugin_count(self, tmp_path):
        text = f"{GOOD}\n@hookimpl\ndef bnsbench_models():\n    raise ValueError('boom')\n"
        host = PluginHost.load([write(tmp_path, "acme", text)])
        assert names(host, "acme") == ["alpha", "zeta"]
        assert len(reasons(host, "acme")) == 1

    def test_strict(self, tmp_path, monkeypatch):
        monkeypatch.setenv("BNSBENCH_STRICT_PLUGINS", "1")
        with pytest.raises(BnsbenchError, match="bad: it could not be loaded: ModuleNotFoundError"):
            PluginHost.load([write(tmp_path, "bad", "import nowhere_at_all")])

    def test_strict_accepts_sound_plugins(self, tmp_path, monkeypatch):
        monkeypatch.setenv("BNSBENCH_PLUGINS", "")
        monkeypatch.setenv("BNSBENCH_STRICT_PLUGINS", "1")
        assert names(PluginHost.load([write(tmp_path, "acme", GOOD)]), "acme") == ["alpha", "zeta"]


class TestNames:
    @pytest.fixture
    def host(self, tmp_path):
        return PluginHost.load([write(tmp_path, "zebra", GOOD), write(tmp_path, "acme", GOOD), write(tmp_path, "pad", "")])

    def test_order_is_built_ins_first_then_names(self, host):
        keys = [(spec.provider != "builtin", spec.name, spec.provider) for spec in host.solvers]
        assert keys == sorted(keys)
        assert [key[1:] for key in keys[-4:]] == [("alpha", "acme"), ("alpha", "zebra"), ("zeta", "acme"), ("zeta", "zebra")]

    def test_unqualified_name_of_two_providers(self, host):
        with pytest.raises(UsageError, match="write acme/alpha or zebra/alpha"):
            host.solver("alpha")

    def test_qualified_name(self, host):
        selection = host.solver("zebra/alpha")
        assert selection.spec.provider == "zebra"
        assert selection.name == "zebra/alpha"

    def test_needless_provider_is_dropped(self, host):
        assert host.metric("builtin/psnr").name == "psnr"

    def test_unknown_name(self, host):
        with pytest.raises(UsageError, match=r"There is no solver 'zetta'; did you mean 'zeta'\?"):
            host.solver("zetta")

    def test_unknown_provider(self, host):
        with pytest.raises(UsageError, match=r"No plugin 'zebraa' offers a solver; did you mean 'zebra'\?"):
            host.solver("zebraa/alpha")

    def test_provider_without_this_kind(self, host):
        with pytest.raises(UsageError, match="No plugin 'pad' offers a solver"):
            host.solver("pad/alpha")

    def test_unknown_suite(self, host):
        with pytest.raises(UsageError, match=r"There is no suite 'quik'; did you mean 'quick'\?"):
            host.suite("quik")

    def test_suite_with_parameters(self, host):
        with pytest.raises(UsageError, match="Suites have no parameters"):
            host.suite("quick[samples=3]")

    def test_suite(self, host):
        assert host.suite("builtin/quick").file.is_file()


class TestParameters:
    @pytest.fixture
    def host(self, tmp_path):
        return PluginHost.load([write(tmp_path, "acme", GOOD)])

    def test_types_follow_the_defaults(self, host):
        selection = host.solver("zeta[size=2,flag=true,count=7,grid=log]")
        assert dict(selection.parameters) == {"flag": True, "count": 7, "size": 2.0, "grid": "log"}
        assert type(selection.parameters["size"]) is float
        assert selection.make()(None, 0, 1)[2] == selection.parameters

    def test_canonical_name_sorts_and_drops_defaults(self, host):
        assert host.solver("zeta[size=2, count=3, flag=TRUE]").name == "zeta[flag=true,size=2.0]"
        assert host.solver("zeta[flag=false]").name == "zeta"

    @pytest.mark.parametrize("selector", ["zeta", "zeta[flag=true,size=1e-7]", "zeta[grid=a/b[c=1]]"])
    def test_canonical_name_selects_the_same(self, host, selector):
        selection = host.solver(selector)
        assert host.solver(selection.name) == selection

    @pytest.mark.parametrize(
        ("selector", "expected"),
        [
            ("zeta[sise=2]", r"'zeta' has no parameter 'sise'; did you mean 'size'\?"),
            ("alpha[size=2]", r"'alpha' has no parameter 'size'; there are none\."),
            ("zeta[count=2.5]", "'count' of 'zeta' must be a whole number, not '2.5'"),
            ("zeta[size=big]", "'size' of 'zeta' must be a finite number"),
            ("zeta[size=nan]", "must be a finite number"),
            ("zeta[flag=maybe]", "must be true or false"),
        ],
    )
    def test_wrong_settings(self, host, selector, expected):
        with pytest.raises(UsageError, match=expected):
            host.solver(selector)


class TestTargets:
    def load(self, tmp_path, target):
        text = f"{HEADER}\n@hookimpl\ndef bnsbench_models():\n    yield ModelSpec('a', {target!r})\n"
        return PluginHost.load([write(tmp_path, "acme", text)]).model("a")

    def test_models_are_made(self, tmp_path):
        assert self.load(tmp_path, "collections:OrderedDict").make() == {}

    @pytest.mark.parametrize(
        ("target", "expected"),
        [
            ("nowhere_at_all:thing", "'a' of plugin 'acme' could not be loaded from 'nowhere_at_all:thing': ModuleNotFound"),
            ("json:thing", "from 'json:thing': AttributeError"),
            (":thing", "'a' of plugin 'acme' could not be loaded"),
        ],
    )
    def test_faulty_target(self, tmp_path, target, expected):
        with pytest.raises(BnsbenchError, match=expected):
            self.load(tmp_path, target).make()


class TestSelectors:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("euler", (None, "euler", {})),
            (" acme/dpm++2m ", ("acme", "dpm++2m", {})),
            ("bns[recipe=paper, pairs=3]", (None, "bns", {"recipe": "paper", "pairs": "3"})),
            (
                "bns[init=acme/unipc[order=3,grid=x],pairs=3]",
                (None, "bns", {"init": "acme/unipc[order=3,grid=x]", "pairs": "3"}),
            ),
        ],
    )
    def test_parse(self, text, expected):
        assert parse_selector(text) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "/x",
            "acme/",
            "a[",
            "a[]",
            "a[b]",
            "a[b=]",
            "a[=1]",
            "a[b=1",
            "a]b",
            "a[b=1]c",
            "a[b=1,b=2]",
            "a[b=[1]",
            "a[b=1]]",
        ],
    )
    def test_malformed(self, text):
        with pytest.raises(UsageError):
            parse_selector(text)

    def test_split(self):
        assert split_selectors("euler, bns[recipe=paper,pairs=3],ab2") == ["euler", "bns[recipe=paper,pairs=3]", "ab2"]

    def test_suggestion_without_a_close_name_lists_all(self):
        assert did_you_mean("xyz", ["b", "a"]) == "choose from a, b."


class TestObservers:
    def test_see_a_copy(self, tmp_path):
        text = f"""{HEADER}
@hookimpl
def bnsbench_cell_finished(record):
    record["scores"]["psnr"] = -1
    print(record)
"""
        host = PluginHost.load([write(tmp_path, "acme", text)])
        record = {"scores": {"psnr": 30.0}}
        host.cell_finished(record)
        assert record == {"scores": {"psnr": 30.0}}

    def test_raising_one_is_reported_once_and_stops_nobody(self, tmp_path, caplog, capsys):
        bad = f"{HEADER}\n@hookimpl\ndef bnsbench_cell_finished(record):\n    raise ValueError('boom')\n"
        good = f"{HEADER}\n@hookimpl\ndef bnsbench_cell_finished(record):\n    print('seen', record['status'])\n"
        host = PluginHost.load([write(tmp_path, "bad", bad), write(tmp_path, "good", good)])
        host.cell_finished({"status": "ok"})
        host.cell_finished({"status": "failed"})
        assert capsys.readouterr().out == "seen ok\nseen failed\n"
        assert [record.getMessage() for record in caplog.records] == [
            "bnsbench_cell_finished of bad raised ValueError: boom"
        ]


def test_loading_imports_nothing_heavy():
    program = (
        "import json, sys; from bnsbench.plugins import PluginHost; PluginHost.load(); print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "matplotlib", "scipy", "numpy"} & set(json.loads(done.stdout))
