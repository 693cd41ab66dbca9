"""``bnsbench doctor``."""

from __future__ import annotations

import json
import platform
import sys

import pytest

from bnsbench.process import machine


@pytest.fixture(autouse=True)
def _builtins_alone(monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")


def test_facts(bnsbench, monkeypatch, tmp_path):
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path / "not" / "there"))
    done = bnsbench("doctor", "--json")
    facts = json.loads(done.out)
    assert done.code == 0
    assert facts["python"] == platform.python_version()
    assert facts["devices"][0] == "cpu"
    assert facts["cache"] == str(tmp_path / "not" / "there")
    assert facts["free disk"].endswith(" GB")
    assert facts["problems"] == []
    assert {"local", "processes"} <= set(facts["executors"])


def test_plain(bnsbench):
    lines = bnsbench("doctor").out.splitlines()
    assert lines[0].split() == ["what", "found"]
    assert any(line.split() == ["problems", "none"] for line in lines)


def test_faulty_plugin(bnsbench, tmp_path):
    (tmp_path / "bad.py").write_text("import nowhere_at_all")
    done = bnsbench("doctor", "--plugin", "bad.py")
    assert done.code == 1
    assert "bad: it could not be loaded" in done.out


def test_it_runs_where_torch_is_missing(bnsbench, monkeypatch):
    """Which is when it is needed most."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(machine, "installed_version", lambda package: None if package == "torch" else "1.0")
    done = bnsbench("doctor", "--json")
    facts = json.loads(done.out)
    assert done.code == 0
    assert facts["torch"].startswith("not installed: nothing can be computed")
    assert facts["devices"] == []


def test_without_a_cache_folder_everything_else_is_told(bnsbench, monkeypatch):
    def homeless(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("BNSBENCH_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_dir", homeless)
    facts = json.loads(bnsbench("doctor", "--json").out)
    assert facts["cache"].startswith("none: There is no home folder")
    assert facts["python"] == platform.python_version()


def test_benchmark(bnsbench, monkeypatch):
    monkeypatch.setattr("bnsbench.api.speed.SECONDS", 0.02)
    monkeypatch.setattr("bnsbench.api.speed.MODELS", ("ring8",))
    done = bnsbench("doctor", "--benchmark", "--device", "cpu", "--json")
    assert done.code == 0
    found = json.loads(done.out)["benchmark"]
    assert found["device"] == "cpu"
    assert all(step["engine_microseconds"] > 0 for step in found["steps"])
    shown = bnsbench("doctor", "--benchmark", "--device", "cpu").out
    assert "plain loop" in shown
    assert any(line.split()[:1] == ["ring8"] for line in shown.splitlines())


def test_without_being_asked_nothing_is_measured(bnsbench):
    assert "benchmark" not in json.loads(bnsbench("doctor", "--json").out)
