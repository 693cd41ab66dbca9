from __future__ import annotations

import hashlib
import os

import pytest

from bnsbench.errors import UsageError
from bnsbench.metrics.contents import content_hash, files_fingerprint, joint_hash
from bnsbench.metrics.image import Psnr


def test_a_file_s_hash_is_that_of_its_content(tmp_path):
    file = tmp_path / "weights.pth"
    for content in (b"one", b"two"):  # equally long, so that only the time tells
        file.write_bytes(content)
        os.utime(file, ns=(0, len(content) + content[0]))
        assert content_hash(file, (file,)) == hashlib.sha256(content).hexdigest()


def test_a_folder_s_hash_is_that_of_names_and_contents(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_bytes(b"xy")
        (tmp_path / folder / "b").write_bytes(b"z")
    one, two = (tmp_path / folder for folder in ("one", "two"))
    first = content_hash(one, sorted(one.iterdir()))
    assert content_hash(two, sorted(two.iterdir())) == first
    (two / "a").write_bytes(b"x")
    (two / "b").write_bytes(b"yz")
    assert content_hash(two, sorted(two.iterdir())) != first
    (one / "b").rename(one / "c")
    assert content_hash(one, sorted(one.iterdir())) != first


def test_what_is_unchanged_is_not_read_again(tmp_path):
    file = tmp_path / "data.npz"
    file.write_bytes(b"data")
    first, state = content_hash(file, (file,)), file.stat()
    file.write_bytes(b"atad")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert content_hash(file, (file,)) == first
    file.unlink()
    with pytest.raises(UsageError, match=r"data\.npz cannot be read: No such file"):
        content_hash(file, (file,))


def test_hashes_are_joined_by_what_they_are_of():
    assert joint_hash({}) == joint_hash({"data": "", "weights": ""}) == ""
    assert joint_hash({"data": "1", "weights": ""}) == joint_hash({"data": "1"})
    assert len({joint_hash(parts) for parts in ({"data": "1"}, {"weights": "1"}, {"data": "1", "weights": "1"})}) == 3


class Telling:
    def fingerprint(self):
        return "0123"


class Wrapping:
    """A metric around another, whose methods are found when they are asked for."""

    def __getattr__(self, name):
        return getattr(Telling(), name)


class Naming:
    fingerprint = "a word, and no method"


def test_only_metrics_that_tell_have_a_fingerprint_of_files():
    assert files_fingerprint(Telling()) == files_fingerprint(Wrapping()) == "0123"
    assert [files_fingerprint(metric) for metric in (Psnr(), lambda samples: samples, Naming())] == ["", "", ""]
