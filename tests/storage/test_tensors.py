from __future__ import annotations

import pytest
import torch

from bnsbench.storage.tensors import read_tensors, write_tensors

TENSORS = {"a": torch.tensor([1.5, -2.0]), "b": torch.arange(6).reshape(2, 3), "none": torch.empty(0, 4)}


def test_tensors_come_back(tmp_path):
    write_tensors(tmp_path / "new" / "file.safetensors", TENSORS)
    found = read_tensors(tmp_path / "new" / "file.safetensors")
    assert found is not None
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content[:-1] + b"\x07", lambda _: b""])
def test_damaged_files_count_as_absent(damage, tmp_path):
    file = tmp_path / "file.safetensors"
    assert read_tensors(file) is None
    write_tensors(file, TENSORS)
    file.write_bytes(damage(file.read_bytes()))
    assert read_tensors(file) is None


def test_a_file_says_what_it_is_for(tmp_path):
    """Two whole files that have been swapped are both absent."""
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    write_tensors(first, TENSORS)
    write_tensors(second, {"a": torch.zeros(2)})
    first.rename(tmp_path / "x")
    second.rename(first)
    (tmp_path / "x").rename(second)
    assert read_tensors(first) is read_tensors(second) is None


def test_another_shape_of_the_same_bytes_is_damage(tmp_path):
    file = tmp_path / "file.safetensors"
    write_tensors(file, TENSORS)
    content = file.read_bytes()
    assert content.count(b"[2,3]") == 1
    file.write_bytes(content.replace(b"[2,3]", b"[3,2]"))
    assert read_tensors(file) is None


def test_a_folder_in_its_place_is_absent(tmp_path):
    (tmp_path / "file.safetensors").mkdir()
    assert read_tensors(tmp_path / "file.safetensors") is None
