"""What models bring comes through `Model`: neither metrics nor training know a data set by name."""

from __future__ import annotations

from pathlib import Path

import pytest

import bnsbench

PACKAGE = Path(bnsbench.__file__).parent


@pytest.mark.parametrize("room", ["flows", "metrics", "training"])
def test_no_embedded_data_set_is_known_by_name(room):
    for file in (PACKAGE / room).rglob("*.py"):
        text = file.read_text()
        assert "bnsbench.models" not in text, file
        assert not any(f'"{name}' in text for name in ("digits", "scenes", "speech")), file
