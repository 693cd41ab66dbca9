"""``bnsbench plugins``."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(autouse=True)
def _builtins_alone(monkeypatch):
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")


def test_sound_plugins(bnsbench):
    done = bnsbench("plugins")
    assert (done.code, done.err) == (0, "")
    assert "builtin" in done.out
    assert "problem" not in done.out


def test_faulty_plugin(bnsbench, tmp_path):
    (tmp_path / "bad.py").write_text("import nowhere_at_all")
    done = bnsbench("plugins", "--plugin", tmp_path / "bad.py")
    assert done.code == 1
    assert "bad" in done.out
    assert "No module named 'nowhere_at_all'" in done.out


def test_json(bnsbench, tmp_path):
    (tmp_path / "bad.py").write_text("import nowhere_at_all")
    report = json.loads(bnsbench("plugins", "--json", "--plugin", tmp_path / "bad.py").out)
    assert [plugin["name"] for plugin in report["plugins"]] == ["builtin"]
    assert [problem["plugin"] for problem in report["problems"]] == ["bad"]


def test_missing_file(bnsbench):
    done = bnsbench("plugins", "--plugin", "nowhere.py")
    assert (done.code, done.err) == (
        2,
        "bnsbench: The plugin file 'nowhere.py' could not be read: No such file or directory.\n",
    )
