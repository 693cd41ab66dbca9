"""Texts that may be names of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnsbench.storage.names import at_home, is_file, is_there


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "", "absent"])
def test_most_texts_are_no_files(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_file(name)
    assert is_there(name) == (not name)  # the empty one is the current folder


def test_a_user_s_home_is_put_in_where_there_is_one(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert at_home("~/x") == tmp_path / "x"
    assert at_home("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
