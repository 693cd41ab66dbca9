from __future__ import annotations

import gzip
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from bnsbench.errors import CorruptFileError, UsageError
from bnsbench.models.fashion.data import TEST, load_fashion, pictures, read_idx
from bnsbench.models.weights import WEIGHTS
from tests.models.fashion.files import idx, write_part


def test_a_part_is_read_as_it_was_written(tmp_path):
    written = write_part(tmp_path, TEST, 30)
    read = load_fashion(TEST, tmp_path)
    assert torch.equal(read.levels, written.levels)
    assert torch.equal(read.labels, written.labels)
    assert (read.levels.dtype, read.labels.dtype) == (torch.uint8, torch.int64)


def test_numbers_lie_where_the_format_has_them(tmp_path):
    """Against bytes put together by hand: two matrices of 2 x 3."""
    content = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3, *range(12)])
    (tmp_path / "array.gz").write_bytes(gzip.compress(content))
    assert np.array_equal(read_idx(tmp_path / "array.gz").numpy(), np.arange(12).reshape(2, 2, 3))


def test_pictures_span_minus_one_to_one():
    assert pictures(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([-1.0, -0.6, 1.0])


def test_a_missing_folder_says_where_the_data_is(tmp_path):
    with pytest.raises(UsageError, match=r"There is no file .*t10k-images.* dataset-fashion-mnist, or name .* --data"):
        load_fashion(TEST, tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no gzip", "is damaged"),
        (gzip.compress(idx(torch.zeros(5, 2, dtype=torch.uint8)))[:-9], "is damaged"),
        (gzip.compress(b"\0\0"), "is damaged"),
        (gzip.compress(idx(torch.zeros(5, 2, dtype=torch.uint8))[:-1]), "holds no array of bytes"),
        (gzip.compress(bytes([0, 0, 13, 1, 0, 0, 0, 1, 0])), "holds no array of bytes"),
    ],
    ids=["text", "cut", "headless", "short", "floats"],
)
def test_damaged_files_are_named(tmp_path, content, said):
    (tmp_path / "array.gz").write_bytes(content)
    with pytest.raises(CorruptFileError, match=rf"array\.gz {said}"):
        read_idx(tmp_path / "array.gz")


def test_other_data_are_refused(tmp_path):
    write_part(tmp_path, TEST, 30)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(torch.full((30,), 10, dtype=torch.uint8))))
    with pytest.raises(CorruptFileError, match="do not hold Fashion-MNIST"):
        load_fashion(TEST, tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(torch.zeros(29, dtype=torch.uint8))))
    with pytest.raises(CorruptFileError, match="do not hold Fashion-MNIST"):
        load_fashion(TEST, tmp_path)


def test_the_licence_of_the_shipped_pictures_comes_with_them():
    licence = WEIGHTS / "LICENSE-fashion-mnist.txt"
    text = licence.read_text(encoding="utf-8")
    assert "The MIT License (MIT)" in text
    assert "2017 Zalando SE" in text
    project = Path(__file__).parents[3]
    declared = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"bnsbench/models/weights/{licence.name}" in declared["license-files"]
    assert declared["license"] == "Apache-2.0 AND MIT"
