"""Faulty plugins: reported with a reason, and nothing else suffers."""

from __future__ import annotations

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
