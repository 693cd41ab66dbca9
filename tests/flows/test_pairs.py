from __future__ import annotations

from pathlib import Path

import torch

from bnsbench.flows.pairs import CHUNK, PairSource
from bnsbench.flows.paths import EDM
from tests.flows.toy import GaussianModel


def source(cache: Path | None = None, **more) -> PairSource:
    return PairSource(GaussianModel(), "gaussian", tolerance=1e-8, cache=cache, **more)


def test_pairs_solve_the_flow_and_carry_their_conditions() -> None:
    pairs = source().pairs("test", 10)
    expected = GaussianModel().flow(pairs.x0, torch.arange(10) % 3)
    torch.testing.assert_close(pairs.x1, expected, rtol=0, atol=1e-6)
    part = pairs.part(slice(3, 6))
    assert len(part) == 3
    t = torch.tensor(0.5)
    torch.testing.assert_close(part.field(t, part.x0), pairs.field(t, pairs.x0)[3:6])


def test_guidance_is_part_of_the_truth() -> None:
    assert not torch.allclose(source(guidance=3.0).pairs("test", 4).x1, source().pairs("test", 4).x1, atol=1e-2)


def test_truth_does_not_depend_on_how_many_are_asked_for() -> None:
    few, many = source().pairs("train", 5), source().pairs("train", CHUNK + 5)
    assert torch.equal(few.x1, many.x1[:5])
    assert torch.equal(few.x0, many.x0[:5])


def test_noise_is_scaled_to_the_path_s_beginning() -> None:
    model = GaussianModel(EDM())
    start = PairSource(model, "gaussian").initial("test", torch.arange(50))
    assert 60 < float(start.std()) < 100


def test_the_cache_saves_the_solve_and_damage_is_noticed(tmp_path: Path) -> None:
    told: list[str] = []
    first = source(tmp_path, progress=told.append).pairs("test", 8)
    assert len(told) == 1
    again = source(tmp_path, progress=told.append).pairs("test", 8)
    assert len(told) == 1
    assert torch.equal(first.x1, again.x1)
    (file,) = tmp_path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    mended = source(tmp_path, progress=told.append).pairs("test", 8)
    assert len(told) == 2
    assert torch.equal(first.x1, mended.x1)


def test_a_truncated_cache_file_is_solved_again(tmp_path: Path) -> None:
    first = source(tmp_path).pairs("test", 8)
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:40])
    assert torch.equal(source(tmp_path).pairs("test", 8).x1, first.x1)


def test_another_tolerance_seed_or_guidance_is_another_file(tmp_path: Path) -> None:
    PairSource(GaussianModel(), "gaussian", cache=tmp_path, tolerance=1e-3).pairs("test", 1)
    PairSource(GaussianModel(), "gaussian", cache=tmp_path, tolerance=1e-4).pairs("test", 1)
    PairSource(GaussianModel(), "gaussian", cache=tmp_path, tolerance=1e-3, seed=1).pairs("test", 1)
    PairSource(GaussianModel(), "gaussian", cache=tmp_path, tolerance=1e-3, guidance=1.0).pairs("test", 1)
    assert len(list(tmp_path.glob("*.safetensors"))) == 4


def test_trajectory_ends_at_the_truth_and_the_ceiling_is_high(tmp_path: Path) -> None:
    pairs, trajectory = source(tmp_path).trajectory("train")
    torch.testing.assert_close(trajectory.x[0], pairs.x0)
    torch.testing.assert_close(trajectory.x[-1], source().pairs("train", CHUNK).x1, rtol=0, atol=1e-6)
    assert source(tmp_path).ceiling() > 120
