"""JSON that is read with bounds."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from bnsbench.errors import CorruptFileError
from bnsbench.storage.plain_data import as_plain_data
from bnsbench.storage.strict_json import DEEPEST, MOST_ENTRIES, parse_json, read_json


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[NaN]", "NaN is no number"),
        ("[-Infinity]", "no number"),
        ("[1e999]", "too large"),
        ("-1e400", "too large"),
        ("1" + "0" * 400 + ".5", "too large"),
        (str(2**64), "too large"),
        ("[1, -" + "9" * 5000 + "]", "too large"),
        ("[" * 100_000 + "]" * 100_000, "levels deep"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "levels deep"),
        ('{"a":' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1), "levels deep"),
        ('["\\ud800"]', "half a character"),
        ("[" + "[]," * MOST_ENTRIES + "1]", "entries"),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_not_ours_is_told(tmp_path, text, reason):
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(CorruptFileError, match=reason):
        read_json(file)


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -2.5, None, True, "ü\u2028"], "b": {"c": []}},
        [1.7976931348623157e308, 5e-324, 2**63, -(2**63), 123456789012345678],
        "[" * 200 + "1e999, 99999999999999999999999",
        "e999 \U0001f600",
        json.loads("[" * DEEPEST + "]" * DEEPEST),
    ],
)
def test_what_is_ours_is_read_as_it_is(value):
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_files_that_are_none(tmp_path):
    (tmp_path / "latin").write_bytes(b'["\xe4"]')
    for name, reason in ((".", "no file"), ("absent", "no file"), ("latin", "not UTF-8"), ("n" * 300, "no file|too long")):
        with pytest.raises(CorruptFileError, match=reason):
            read_json(tmp_path / name)
    (tmp_path / "long").write_text("[" + " " * 100 + "]")
    with pytest.raises(CorruptFileError, match="more than 99 bytes"):
        read_json(tmp_path / "long", largest=99)


@pytest.mark.parametrize("part", ["{},", "[],", "1.5,", '"ab",', '"\\u00e9",', "300,"])
def test_memory_is_bounded_by_the_text(part):
    content = b"[" + (part * (2_000_000 // len(part))).encode() + b"1]"
    tracemalloc.start()
    try:
        parse_json(content)
    except CorruptFileError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 20 * len(content) + 2**22


def test_whatever_is_written_can_be_read():
    odd = {"a": 10**400, "b": float("inf"), "c": "\udcff", "\ud800": -(10**30), "d": 2**64 - 1}
    found = parse_json(json.dumps(as_plain_data(odd)).encode())
    assert found == {"a": None, "b": None, "c": "\\udcff", "\\ud800": None, "d": 2**64 - 1}
