from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from bnsbench.errors import BnsbenchError
from bnsbench.suite.record import Record, Score, format_record, read_record
from bnsbench.suite.record_text import as_written

CELL = {
    "model": {"name": "m", "provider": "p", "version": "1", "parameters": {}},
    "solver": {"name": "s", "provider": "p", "version": "1", "parameters": {}},
    "guidance": 0.0,
    "nfe": 4,
    "seed": 0,
    "samples": 1000,
    "dtype": "model",
}


def made(values):
    return Record(
        "m_w0_s_nfe4_seed0-abc",
        CELL,
        "ok",
        reason='a "quoted", {"odd": [1]},\n\\ reason: é',
        metrics={"psnr": Score("1", value=1.0, details={"n": 3.0})},
        per_sample={"psnr": values},
        replicates={"fid": (1.0, None)},  # type: ignore[dict-item]
    )


def hard_numbers():
    """Numbers of every size, in six digits and in all, with those at which rounding is hardest."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal(3000) * 10.0 ** rng.integers(-300, 300, 3000)
    hard = [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 9007199254740993.0, 0.1, -0.0, 8.41e21]
    return (*drawn.tolist(), *hard, *(float(f"{value:.6g}") for value in drawn))


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "r.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_what_is_read_is_what_json_reads_bit_by_bit(file):
    text = format_record(made(hard_numbers()))
    expected = json.loads(text)
    expected.pop("checksum")
    found = as_written(text.encode())
    assert found is not None
    # repr tells -0.0 from 0.0.
    assert repr(found["per_sample"]["psnr"]) == repr(expected["per_sample"]["psnr"]) == repr(list(hard_numbers()))
    assert found == expected
    assert read_record(file(text)).to_dict() == made(hard_numbers()).to_dict()


def test_a_record_in_another_form_is_read_as_well(file):
    """Older bnsbench and other programs may have written the same content otherwise."""
    record = made((1.5, 2.5))
    for text in (json.dumps(record.to_dict()), json.dumps(record.to_dict(), indent=2, sort_keys=True)):
        assert as_written(text.encode()) is None
        assert read_record(file(text)).to_dict() == record.to_dict()


def test_a_record_without_its_values_is_checked_all_the_same(file):
    text = format_record(made((1.5, 2.5)))
    found = read_record(file(text), values=False)
    assert (found.per_sample, found.replicates) == ({}, {})
    assert (found.key, found.metrics, found.reason) == (made(()).key, made(()).metrics, made(()).reason)
    other = read_record(file(json.dumps(made((1.5, 2.5)).to_dict())), values=False)
    assert other == found
    with pytest.raises(BnsbenchError, match="does not match its checksum"):
        read_record(file(text.replace("2.5", "2.6")), values=False)


def forged(**entries):
    """Return the text of a record, line by line, with a checksum that fits whatever the entries are."""
    lines = {"schema": "1", "key": '"a-1"', "cell": json.dumps(CELL), "status": '"ok"', "reason": '""', **entries}
    compact = "{" + ",".join(f'"{key}":{lines[key]}' for key in sorted(lines)) + "}"
    lines["checksum"] = f'"{hashlib.sha256(compact.encode()).hexdigest()}"'
    return "{\n" + ",\n".join(f'"{key}": {value}' for key, value in lines.items()) + "\n}\n"


ODD = {
    "a text": '{"psnr":"999"}',
    "texts": '{"psnr":["1.0"]}',
    "truth": '{"psnr":[true]}',
    "NaN": '{"psnr":[NaN]}',
    "infinite": '{"psnr":[1e999]}',
    "no list": "[1.0]",
    "none": '{"psnr":[null]}',
    "cut off": '{"psnr":[1.0',
    "two": '{"psnr":[1.0]},"status":"failed"',
    "no JSON": "x",
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_a_fitting_checksum_makes_no_odd_value_a_record(file, value):
    assert as_written(forged(per_sample='{"psnr":[1.0]}').encode()) is not None
    assert as_written(forged(per_sample=value).encode()) is None
    with pytest.raises(BnsbenchError, match=r"r\.json is damaged"):
        read_record(file(forged(per_sample=value)))


def test_a_line_that_is_more_than_one_entry_is_refused(file):
    text = forged(nfe='4,"forwards":9')
    assert as_written(text.encode()) is None
    with pytest.raises(BnsbenchError, match=r"r\.json is damaged"):
        read_record(file(text))


def test_no_cut_or_changed_byte_passes():
    text = format_record(made((1.5, 2.5))).encode()
    assert as_written(text) is not None
    for place in range(len(text)):
        assert as_written(text[:place]) is None
        assert as_written(text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]) is None
