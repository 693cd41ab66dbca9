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
