"""A spare gives intact copies, whatever becomes of those before, and leaves no file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bnsbench.storage import spare as module
from bnsbench.storage.files import StorageError
from bnsbench.storage.spare import Spare


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("held", [0, 100])
def test_copies_are_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, held: int) -> None:
    monkeypatch.setattr(module, "HELD_NUMBERS", held)
    values = torch.randn(5, 3).to(dtype)
    before = values.clone()
    spare = Spare(values, tmp_path / "spare")
    first = spare.copy()
    assert (first.data_ptr() == values.data_ptr()) == (held == 0)
    first.zero_()
    for _ in range(2):
        again = spare.copy()
        assert again.dtype == dtype
        assert torch.equal(again, before)
        again.zero_()
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_folder_that_takes_no_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_NUMBERS", 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        Spare(torch.zeros(3), tmp_path / "file" / "spare")
