from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bnsbench.storage import states
from bnsbench.training.optimisers import checkpoint
from bnsbench.training.optimisers.checkpoint import Checkpoint

STATE: dict[str, Any] = {
    "theta": torch.randn(5, dtype=torch.float64),
    "order": [3, 1],
    "done": 7,
    "selection": {"best": None, "idle": 0.5},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "training" / "state.pt"


def test_a_state_comes_back_as_it_was_saved(file: Path) -> None:
    kept = Checkpoint(file)
    assert kept.load() is None
    kept.save({"done": 1})
    kept.save(STATE)
    found = Checkpoint(file).load()
    assert found is not None
    assert torch.equal(found.pop("theta"), STATE["theta"])
    assert found == {key: value for key, value in STATE.items() if key != "theta"}
    assert [path.name for path in file.parent.iterdir()] == ["state.pt"]


def test_the_file_is_removed_in_the_end_whether_there_is_one_or_not(file: Path) -> None:
    kept = Checkpoint(file)
    kept.remove()
    kept.save(STATE)
    kept.remove()
    assert not file.exists()


def test_without_a_file_nothing_is_kept() -> None:
    kept = Checkpoint(None)
    kept.save(STATE)
    assert kept.load() is None
    kept.remove()


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


DAMAGE = {
    "empty": b"",
    "text": b"hello world",
    "json": b"{}",
    "cut": saved(STATE)[:900],
    "without its end": saved(STATE)[:-30],
    "a list": saved([1, 2]),
    "a pickle": pickle.dumps({"done": 1}, protocol=4),
    "code": saved({"done": Path("x")}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_no_state_is_ignored(file: Path, damage: str) -> None:
    file.parent.mkdir()
    file.write_bytes(DAMAGE[damage])
    assert Checkpoint(file).load() is None
    Checkpoint(file).save(STATE)
    assert Checkpoint(file).load() is not None


def test_no_damage_raises(file: Path) -> None:
    """Files of random bytes, and files cut off anywhere."""
    file.parent.mkdir()
    draw, whole = np.random.default_rng(0), saved(STATE)
    cases = [draw.bytes(int(draw.integers(1, 400))) for _ in range(150)]
    cases += [whole[:length] for length in range(0, len(whole), 37)]
    for content in cases:
        file.write_bytes(content)
        assert Checkpoint(file).load() is None


def test_contents_with_the_right_digest_that_torch_cannot_read_are_ignored(file: Path) -> None:
    """As another version of torch may have written them, or somebody who knows how."""
    file.parent.mkdir()
    for content in [*DAMAGE.values(), b"PK\x03\x04" * 10, saved(STATE)[:-1]]:
        file.write_bytes(states._BEGINNING + states._digest(file, content) + content)
        assert Checkpoint(file).load() is None


def test_the_state_of_another_training_is_ignored(file: Path) -> None:
    Checkpoint(file).save(STATE)
    other = file.with_name("other.pt")
    file.rename(other)
    assert Checkpoint(other).load() is None
    other.rename(file)
    assert Checkpoint(file).load() is not None


def test_no_flipped_bit_is_believed(file: Path) -> None:
    Checkpoint(file).save(STATE)
    whole = file.read_bytes()
    for place in range(0, len(whole), 61):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert Checkpoint(file).load() is None


def test_quick_states_are_flushed_now_and_then(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[bool] = []
    monkeypatch.setattr(checkpoint, "write_state", lambda file, state, flush: flushed.append(flush))
    now = iter((100.0, 100.5, 101.9, 102.0, 103.0, 105.0))
    monkeypatch.setattr("bnsbench.training.optimisers.checkpoint.time.monotonic", lambda: next(now))
    kept = Checkpoint(file)
    for _ in range(6):
        kept.save(STATE)
    assert flushed == [True, False, False, True, False, True]


def test_an_interrupted_save_leaves_the_state_before(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoint(file)
    kept.save({"done": 1})

    def interrupt(self, target) -> None:
        assert self.read_bytes()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        kept.save({"done": 2})
    assert kept.load() == {"done": 1}
    assert [path.name for path in file.parent.iterdir()] == ["state.pt"]
