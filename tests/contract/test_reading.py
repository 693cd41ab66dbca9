"""Faulty plugins: reported with a reason, and nothing else suffers."""

from __future__ import annotations

import pickle
import re

import pytest

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError
from tests.contract.offers import GOOD, HEADER, install, names, reasons, write

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
        "bnsbench_models yields a MetricSpec, which is not a ModelSpec",
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
    "unknown later": (
        f"{HEADER}\n@hookimpl\ndef bnsbench_models():\n    yield ModelSpec('a', 'a:b', later=('size',))",
        "whose later parameter 'size' is not among its parameters",
    ),
    "no suite file": (
        f"{HEADER}\n@hookimpl\ndef bnsbench_suites():\n    yield SuiteSpec('s', '/no/s.toml')",
        "whose file '/no/s.toml' does not exist",
    ),
}

RECORDS = {
    "no mapping": (
        "ModelSpec('a', 'a:b', parameters=[('x', 1)])",
        r"parameters is \[\('x', 1\)\], but must be a mapping",
    ),
    "no mapping but None": ("ModelSpec('a', 'a:b', parameters=None)", "whose parameters is None, but must be a mapping"),
    "number for a name": ("ModelSpec(7, 'a:b')", "yields '7', a name that is not made of"),
    "list for a name": ("ModelSpec(['a'], 'a:b')", "a name that is not made of"),
    "no name": ("ModelSpec(None, 'a:b')", "a name that is not made of"),
    "no target": ("ModelSpec('a', None)", "target 'None' is not of the form"),
    "number for a summary": ("ModelSpec('a', 'a:b', summary=3)", "whose summary is 3, but must be text"),
    "number for a parameter": ("ModelSpec('a', 'a:b', parameters={3: 1})", "a parameter 3, which is no keyword"),
    "no keyword": ("ModelSpec('a', 'a:b', parameters={'x y': 1})", "a parameter 'x y', which is no keyword"),
    "infinite default": ("ModelSpec('a', 'a:b', parameters={'x': float('inf')})", "default of 'x' is no finite number"),
    "default that is no number": ("ModelSpec('a', 'a:b', parameters={'x': float('nan')})", "default of 'x' is no finite"),
    "huge default": ("ModelSpec('a', 'a:b', parameters={'x': 10**400})", "default of 'x' is no finite number of 64 bits"),
    "text for later": ("ModelSpec('a', 'a:b', parameters={'x': 1}, later='x')", "whose later is 'x', but must be a tuple"),
    "number for later": ("ModelSpec('a', 'a:b', later=3)", "whose later is 3, but must be a tuple"),
    "number in later": ("ModelSpec('a', 'a:b', later=(3,))", "whose later is"),
    "text for a flag": ("ModelSpec('a', 'a:b', guidable='no')", "whose guidable is 'no', but must be True or False"),
    "no modality": ("ModelSpec('a', 'a:b', modality=None)", "whose modality is None, but must be text"),
    "no step": (
        "SolverSpec('a', 'a:b', budgets=Budgets(1, 0))",
        "budgets is .*, but must be Budgets of a minimum and",
    ),
    "no minimum": ("SolverSpec('a', 'a:b', budgets=Budgets(0))", "whose budgets is"),
    "text for a step": ("SolverSpec('a', 'a:b', budgets=Budgets(1, '1'))", "whose budgets is"),
    "no budgets": ("SolverSpec('a', 'a:b', budgets=None)", "whose budgets is None"),
    "unknown kind": (
        "SolverSpec('a', 'a:b', kind='odd')",
        "kind is 'odd', but must be one of traced, direct, trained",
    ),
    "list for a kind": ("SolverSpec('a', 'a:b', kind=['direct'])", "whose kind is"),
    "no stage": ("SolverSpec('a', 'a:b', stages=0)", "whose stages is 0"),
    "text for an order": ("SolverSpec('a', 'a:b', order='2')", "whose order is '2'"),
    "text for other names": ("SolverSpec('a', 'a:b', known_as='x (y)')", "whose known_as is 'x .y.', but must be a tuple"),
    "unknown direction": ("MetricSpec('a', 'a:b', direction='up')", "direction is 'up', but must be one of higher, lower"),
    "number for a unit": ("MetricSpec('a', 'a:b', unit=1)", "whose unit is 1, but must be text"),
    "no suite file": ("SuiteSpec('a', None)", "whose file is None, but must be a path"),
    "number for a suite file": ("SuiteSpec('a', 3)", "whose file is 3, but must be a path"),
    "a name of zeros": ("SuiteSpec('a', 'x\\0y')", "whose file is"),
    "a name that cannot be shown": (
        "ModelSpec(type('Odd', (), {'__str__': lambda self: 1 / 0, '__repr__': lambda self: 1 / 0})(), 'a:b')",
        "yields a record that cannot be read: ZeroDivisionError",
    ),
    "an error that cannot be shown": (
        "(_ for _ in ()).throw(type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})())",
        "raised Odd: its text cannot be told",
    ),
    "an error of its own kind": ("(_ for _ in ()).throw(type('Odd', (BaseException,), {})('gone'))", "raised Odd: gone"),
    "escape sequences": ("ModelSpec('\\x1b[31m', 'a:b')", r"yields '\\x1b\[31m', a name"),
}
"""Records that are wrong in one field, each with what is said of it."""


class TestRecords:
    @pytest.mark.parametrize("fault", RECORDS)
    def test_one_is_reported_and_the_others_of_the_plugin_count(self, fault, tmp_path):
        record, expected = RECORDS[fault]
        kind = next((kind for kind in ("model", "solver", "metric", "suite") if record.lower().startswith(kind)), "model")
        fine = "@hookimpl\ndef bnsbench_executors():\n    yield ExecutorSpec('fine', 'a:b')\n"
        text = f"{HEADER}\n@hookimpl\ndef bnsbench_{kind}s():\n    yield {record}\n{fine}"
        host = PluginHost.load([write(tmp_path, "bad", text), write(tmp_path, "good", GOOD)])
        [reason] = reasons(host, "bad")
        assert "\n" not in reason
        assert re.search(expected, reason), reason
        assert host.executor("bad/fine").spec.name == "fine"
        assert names(host, "good") == ["alpha", "zeta"]

    def test_any_mapping_and_any_path_will_do(self, tmp_path):
        (tmp_path / "s.toml").write_text("")
        text = (
            f"{HEADER}\nfrom types import MappingProxyType\n"
            "@hookimpl\ndef bnsbench_models():\n    yield ModelSpec('a', 'a:b', parameters=MappingProxyType({'x': 1}))\n"
            f"@hookimpl\ndef bnsbench_suites():\n    yield SuiteSpec('s', {str(tmp_path / 's.toml')!r})\n"
        )
        host = PluginHost.load([write(tmp_path, "good", text)])
        assert not host.problems
        assert pickle.loads(pickle.dumps(host.model("good/a").spec)).parameters == {"x": 1}  # noqa: S301 (our own)
        assert host.suite("good/s").file == tmp_path / "s.toml"

    @pytest.mark.usefixtures("plugins_allowed")
    def test_a_local_file_that_cannot_be_read_stops_nothing(self, tmp_path, monkeypatch):
        file = write(tmp_path, "bnsbench_local", GOOD)

        def refuse(self):
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(type(file), "read_bytes", refuse)
        assert "could not be read: Permission denied" in reasons(PluginHost.load(local=tmp_path), "bnsbench_local")[0]


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

    @pytest.mark.usefixtures("plugins_allowed")
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
