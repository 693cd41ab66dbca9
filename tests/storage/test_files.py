"""Files that are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnsbench.storage import files
from bnsbench.storage.files import StorageError, cache_errors, make_folder, remove_leftovers, replacing, try_cache


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


def test_a_file_and_its_folder_are_flushed_before_and_after_it_appears(tmp_path, monkeypatch):
    """In that order, as the system sees it: else a power cut could leave a name without its content."""
    done: list[Path | str] = []
    sync, replace = os.fsync, Path.replace

    def note(descriptor):
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    def rename(self, target):
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(Path, "replace", rename)
    with replacing(tmp_path / "new" / "f.txt") as temporary:
        temporary.write_text("x")
    assert done == [tmp_path, temporary, "rename", tmp_path / "new"]
    done.clear()
    with replacing(tmp_path / "new" / "f.txt", flush=False) as temporary:
        temporary.write_text("x")
    assert done == ["rename"]


def test_a_folder_that_cannot_be_flushed_is_no_error_where_the_system_has_no_way(tmp_path, monkeypatch):
    def refuse(number):
        def sync(folder):
            if Path(f"/proc/self/fd/{folder}").readlink().is_dir():
                raise OSError(number, os.strerror(number))

        return sync

    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))
    make_folder(tmp_path / "a" / "b")
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        make_folder(tmp_path / "a" / "c")


KILLED = """
import os, sys, time
from pathlib import Path
from bnsbench.storage import files
host = sys.argv[2] or files._host()
files._host = lambda: host
with files.replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("written", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer():
    started = []

    def writer(file, host=""):
        words = [sys.executable, "-c", KILLED, str(file), host]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        assert (started[-1].stdout or sys.stdin).readline() == "written\n"
        return started[-1]

    yield writer
    for process in started:
        process.kill()
        process.communicate()


def test_what_a_killed_process_leaves_is_removed_and_what_a_living_one_writes_stays(tmp_path, writer):
    killed, alive = writer(tmp_path / "a" / "killed"), writer(tmp_path / "a" / "alive")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    left = sorted(file.name.split(".")[1] for file in (tmp_path / "a").iterdir())
    assert left == ["alive", "killed"]
    assert [file.name.split(".")[1] for file in remove_leftovers(tmp_path)] == ["killed"]
    assert [file.name.split(".")[1] for file in (tmp_path / "a").iterdir()] == ["alive"]
    assert alive.poll() is None


def test_another_host_is_given_a_day(tmp_path, writer):
    """Containers are hosts of their own, and not every shared disk tells of the locks of others."""
    killed = writer(tmp_path / "f", "0123abcd")
    killed.kill()
    killed.wait()
    (file,) = tmp_path.iterdir()
    assert remove_leftovers(tmp_path) == []
    day_before = time.time() - files.OLD - 1
    os.utime(file, (day_before, day_before))
    assert remove_leftovers(tmp_path) == [file]


def test_a_system_without_locks_goes_by_age(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    with replacing(tmp_path / "f") as temporary:
        temporary.write_text("x")
        assert remove_leftovers(tmp_path) == []
    for name, old in ((".f.1234.tmp", True), (".f.99.tmp", False)):
        (tmp_path / name).touch()
        if old:
            os.utime(tmp_path / name, (0, 0))
    assert [file.name for file in remove_leftovers(tmp_path)] == [".f.1234.tmp"]


@pytest.mark.parametrize("name", [".bashrc.tmp", "f.0123abcd.0123456789abcdef.tmp", ".f.tmp", ".tmp", ".f.12x.tmp"])
def test_files_of_others_are_left_alone(tmp_path, name):
    (tmp_path / name).touch()
    os.utime(tmp_path / name, (0, 0))
    assert remove_leftovers(tmp_path) == []
    assert remove_leftovers(tmp_path / "absent") == []


def test_names_never_collide_even_of_equal_processes(tmp_path, monkeypatch):
    """As of two containers in which each is process 1."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    names = set()
    for _ in range(100):
        with replacing(tmp_path / "f") as temporary:
            names.add(temporary.name)
    assert len(names) == 100


def test_a_cache_that_cannot_be_written_is_a_sentence_that_names_it(tmp_path):
    try_cache(tmp_path / "new" / "cache")
    assert list((tmp_path / "new" / "cache").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"The cache folder .*file/cache cannot be written \(.*BNSBENCH_CACHE"):
        try_cache(tmp_path / "file" / "cache")
    with pytest.raises(ValueError, match="mine"), cache_errors(tmp_path):
        raise ValueError("mine")
