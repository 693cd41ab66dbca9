"""Files that are replaced whole or not at all."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bnsbench.storage.files import replacing


def test_a_file_appears_whole_and_alone_in_folders_made_for_it(tmp_path):
    target = tmp_path / "new" / "deep" / "f.txt"
    with replacing(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_the_temporary_file_is_beside_the_target_hidden_and_of_this_call(tmp_path):
    with replacing(tmp_path / "f.tar.gz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        with replacing(tmp_path / "f.tar.xz") as other:
            assert other != temporary
            other.touch()
        with replacing(tmp_path / "f.tar.gz") as same:
            assert same != temporary
            same.touch()
        temporary.touch()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("written", [True, False])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path, error, written):
    target = tmp_path / "f.txt"
    target.write_text("old")

    def fail():
        with replacing(target) as temporary:
            if written:
                temporary.write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_rename_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "taken").mkdir()

    def write():
        with replacing(tmp_path / "taken") as temporary:
            temporary.write_text("new")

    with pytest.raises(OSError, match="taken"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_importing_it_is_light():
    code = "import sys, bnsbench.storage.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
