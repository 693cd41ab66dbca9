"""What computed a run."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from bnsbench import __version__
from bnsbench.suite import environment


def test_versions_plugins_and_machine(host, monkeypatch):
    monkeypatch.setenv("BNSBENCH_THREADS", "1")
    found = environment.describe(host)
    assert json.loads(json.dumps(found)) == found
    assert (found["bnsbench"], found["python"]) == (__version__, platform.python_version())
    assert found["packages"]["numpy"] == version("numpy")
    assert set(found["packages"]) <= set(environment.PACKAGES)
    assert "tiny_plugin" in found["plugins"]
    assert found["threads"] == 1
    assert found["cores"] >= 1


def test_nothing_in_it_says_who_the_user_is(host):
    found = json.dumps(environment.describe(host))
    for secret in (str(Path.home()), platform.node()):
        assert len(secret) < 4 or secret not in found


def test_a_package_that_is_not_installed_is_left_out(host, monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package-of-anybody"))
    assert list(environment.describe(host)["packages"]) == ["numpy"]


def test_the_code_s_fingerprint_follows_every_source_file(tmp_path, monkeypatch):
    for name in ("suite/environment.py", "a.py", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "suite" / "environment.py"))
    found = [environment.code_fingerprint()]
    for change in (lambda: (tmp_path / "a.py").write_text("2"), lambda: (tmp_path / "a.py").rename(tmp_path / "b.py")):
        change()
        found.append(environment.code_fingerprint())
    assert len(set(found)) == 3
    (tmp_path / "notes.txt").write_text("2")
    assert environment.code_fingerprint() == found[-1]


@pytest.mark.parametrize(("text", "said"), [("model name\t: Quick 9\nflags: x\n", "Quick 9"), ("flags: x\n", "other")])
def test_the_processor_by_what_the_system_says(monkeypatch, text, said):
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: text)
    monkeypatch.setattr(platform, "processor", lambda: "other")
    assert environment._processor() == said


def test_a_system_without_that_file_has_a_processor_too(monkeypatch):
    def missing(self, encoding):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(platform, "processor", lambda: "other")
    assert environment._processor() == "other"


def test_it_loads_no_torch():
    code = "import sys, bnsbench.suite.environment; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
