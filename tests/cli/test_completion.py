"""Completion in the shell: the scripts, and what they complete."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import shellingham


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "complete -o default -F _bnsbench_completion bnsbench"),
        ("zsh", "compdef _bnsbench_completion bnsbench"),
        ("fish", "complete --command bnsbench"),
        ("powershell", "Register-ArgumentCompleter -Native -CommandName bnsbench"),
    ],
)
def test_a_named_shell_gets_its_script(bnsbench, shell, line):
    for words in (("--show-completion", shell), (f"--show-completion={shell}",)):
        done = bnsbench(*words)
        assert (done.code, done.err) == (0, "")
        assert line in done.out


def test_the_shell_in_use_is_found(bnsbench, monkeypatch):
    monkeypatch.setattr(shellingham, "detect_shell", lambda: ("zsh", "/bin/zsh"))
    assert bnsbench("--show-completion").out == bnsbench("--show-completion", "zsh").out != ""


def test_a_shell_that_is_not_found_has_to_be_named(bnsbench, monkeypatch):
    def detect_shell():
        raise shellingham.ShellDetectionFailure

    monkeypatch.setattr(shellingham, "detect_shell", detect_shell)
    done = bnsbench("--show-completion")
    assert (done.code, done.out) == (2, "")
    assert "The shell in use cannot be told: name one, such as --show-completion bash" in done.err
    assert bnsbench("--show-completion", "basic").code == 2


def test_installation_writes_the_script_of_the_named_shell(bnsbench, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    done = bnsbench("--install-completion", "bash")
    assert done.code == 0
    assert "_bnsbench_completion" in (tmp_path / ".bash_completions" / "bnsbench.sh").read_text()
    assert ".bash_completions" in (tmp_path / ".bashrc").read_text()


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("bnsbench lea", ["leaderboard"]),
        ("bnsbench solver s", ["show"]),
        ("bnsbench train digits-", ["digits-cos", "digits-gmm", "digits-ot", "digits-vp"]),
        ("bnsbench run --solver euler,dpm++2", ["euler,dpm++2m", "euler,dpm++2s"]),
        ("bnsbench run --metric fid", ["fid", "fid-gt"]),
        ("bnsbench list gr", ["grids", "gradient-estimation"]),
        ("bnsbench check uni", ["unipc"]),
        ("bnsbench run --dtype float6", ["float64"]),
    ],
)
def test_words_are_completed(line, completed):
    environment = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), "_BNSBENCH_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-m", "bnsbench"],
        env={**os.environ, "BNSBENCH_PLUGINS": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == completed


def test_a_broken_plugin_completes_nothing(monkeypatch, tmp_path):
    from bnsbench.cli.completion import complete_models

    (tmp_path / "rockets_module.py").write_text("import nowhere_at_all")
    (tmp_path / "rockets-1.dist-info").mkdir()
    (tmp_path / "rockets-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: rockets\nVersion: 1\n")
    (tmp_path / "rockets-1.dist-info" / "entry_points.txt").write_text("[bnsbench]\nrockets = rockets_module\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("BNSBENCH_STRICT_PLUGINS", "1")
    monkeypatch.setenv("BNSBENCH_PLUGINS", "rockets")
    assert complete_models("") == []


def test_a_key_that_is_pressed_runs_no_local_plugin(monkeypatch, tmp_path):
    from bnsbench.cli.completion import complete_models

    monkeypatch.chdir(tmp_path)
    (tmp_path / "bnsbench_local.py").write_text("from pathlib import Path\nPath('ran').touch()")
    monkeypatch.delenv("BNSBENCH_PLUGINS", raising=False)
    assert "ring8" in complete_models("")
    assert not (tmp_path / "ran").exists()
