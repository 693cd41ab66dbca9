"""One digest over all of a folder: the same wherever the folder lies, another after any change."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess

import pytest

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError, UsageError
from bnsbench.report.results import write_reports
from bnsbench.report.seal import digest_in, seal, seal_faults, seal_of
from bnsbench.suite.plan import make_plan
from bnsbench.suite.record import skipped_record
from bnsbench.suite.store import ResultStore
from bnsbench.suite.suitefile import read_suite

SUITE = 'name = "small"\nnfe = [3, 5]\nsolvers = ["midpoint"]\nmodels = ["ring8"]\n'


@pytest.fixture
def store(tmp_path):
    """Results of two cells that cannot be run, so that nothing has to be computed."""
    found = ResultStore(tmp_path / "small")
    (tmp_path / "suite.toml").write_text(SUITE)
    cells = make_plan(read_suite(tmp_path / "suite.toml"), PluginHost.load())
    found.begin(SUITE, cells)
    found.write_environment({"bnsbench": "1"})
    for cell in cells:
        found.write(skipped_record(cell))
    write_reports(found)
    return found


def test_the_digest_is_the_hash_of_the_file_and_names_everything(store):
    made = seal(store)
    file = store.folder / "SEAL"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == made.digest
    files = [path for path in store.folder.rglob("*") if path.is_file() and path.name not in ("SEAL", "SHA256SUMS")]
    sums = hashlib.sha256((store.folder / "SHA256SUMS").read_bytes()).hexdigest()
    size = sum(path.stat().st_size for path in files)
    assert file.read_text() == f"bnsbench seal 1\nfiles {len(files)}\nbytes {size}\nSHA256SUMS {sums}\n"
    assert {"suite.toml", "environment.json", "plan.json"} <= {path.name for path in files}
    assert list(seal_faults(store, made.digest)) == list(seal_faults(store)) == []


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is of GNU")
def test_it_is_checked_without_bnsbench(store):
    made = seal(store)
    told = subprocess.run(["sha256sum", "SEAL"], cwd=store.folder, capture_output=True, text=True, check=True).stdout
    assert told.split()[0] == made.digest
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=store.folder, check=True)


def test_it_depends_on_names_and_contents_alone(store, tmp_path):
    made = seal(store)
    assert seal(store) == made  # the seal itself is not sealed
    copy = ResultStore(tmp_path / "elsewhere" / "small")
    shutil.copytree(store.folder, copy.folder)
    for file in copy.folder.rglob("*"):
        os.utime(file, (0, 0))
    (copy.folder / "SEAL").unlink()
    assert seal(copy).digest == made.digest
    (copy.previews / "a").mkdir(parents=True)
    (copy.previews / "a" / "0.png").write_bytes(b"")
    (copy.folder / ".hidden").write_text("")
    assert seal_of(copy) == made


@pytest.mark.parametrize(
    "name", ["suite.toml", "environment.json", "plan.json", "leaderboard.csv", "leaderboard.md", "cells"]
)
def test_any_change_is_another_digest(store, name):
    made = seal(store)
    file = store.folder / name
    file = sorted(file.iterdir())[0] if file.is_dir() else file
    file.write_bytes(file.read_bytes() + b"\n")
    (told,) = [fault for fault in seal_faults(store, made.digest) if "The seal does not fit" in fault]
    assert made.digest in told
    assert seal_of(store).digest in told
    assert any("is not the seal of the files as they are now" in fault for fault in seal_faults(store))
    with pytest.raises(BnsbenchError, match="cannot be sealed"):
        seal(store)


def test_names_belong_to_it(store):
    made = seal(store)
    (store.folder / "suite.toml").rename(store.folder / "suite2.toml")
    assert any("does not fit" in fault for fault in seal_faults(store, made.digest))


def test_what_is_added_is_told_and_can_be_sealed_again(store):
    made = seal(store)
    (store.folder / "notes.txt").write_text("hello")
    assert any("does not fit" in fault for fault in seal_faults(store, made.digest))
    again = seal(store)
    assert again.digest != made.digest
    assert "notes.txt" in (store.folder / "SHA256SUMS").read_text()
    assert list(seal_faults(store, again.digest)) == []


def test_the_listing_itself_may_not_change(store):
    made = seal(store)
    (store.folder / "SHA256SUMS").write_text("")
    assert any("does not list the files" in fault for fault in seal_faults(store, made.digest))


def test_a_seal_of_before_is_told_though_nobody_asks(store):
    assert list(seal_faults(store)) == []
    seal(store)
    (store.folder / "SEAL").write_text("bnsbench seal 1\n")
    (fault,) = seal_faults(store)
    assert "SEAL is not the seal" in fault


@pytest.mark.parametrize("given", ["{}", "sha256:{}", " {} ", "{}".upper()])
def test_digests_as_people_write_them(given):
    digest = "0123456789abcdef" * 4
    assert digest_in(given.format(digest)) == digest
    assert digest_in(digest.upper()) == digest


@pytest.mark.parametrize("given", ["", "abc", "g" * 64, "0" * 63, "0" * 65, "²" * 64])
def test_what_is_no_digest_is_a_usage_error(given):
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        digest_in(given)
