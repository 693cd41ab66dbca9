"""LPIPS against its formula, written out on torchvision's own networks with random weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import torchmetrics
import torchvision
from safetensors.torch import save_file

from bnsbench.plugin import DivergedError, NotApplicableError, UsageError
from bnsbench_diffusers.metrics.lpips import BACKBONES, BATCH, Lpips, _load, find_backbone

LAYERS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29), "squeeze": (1, 4, 7, 9, 10, 11, 12)}
"""The rectified layers (and SqueezeNet's modules) whose activations are compared, as the paper's own code has them."""

SHIFT, SCALE = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """Files of weights of all three networks, without the classifiers, which are no part of LPIPS; and the networks."""
    folder, made = tmp_path_factory.mktemp("backbones"), {}
    torch.manual_seed(0)
    for name, backbone in BACKBONES.items():
        network = torchvision.models.get_model(backbone.name, weights=None).eval()
        weights = {key: value for key, value in network.state_dict().items() if key.startswith("features")}
        torch.save(weights, folder / f"{name}.pth")
        made[name] = folder / f"{name}.pth", network.features
    return made


@pytest.fixture
def large():
    return torch.rand(5, 3, 40, 48) * 2 - 1


def heads(name):
    """The weights of layers that Zhang et al. fitted to people's judgements; they come with torchmetrics."""
    file = Path(torchmetrics.__file__).parent / "functional/image/lpips_models" / f"{name}.pth"
    stored = torch.load(file, map_location="cpu", weights_only=True)
    return [stored[key].reshape(-1, 1, 1) for key in sorted(stored)]


@torch.no_grad()
def written_out(name, features, images, truth):
    """Sum over layers of mean over places of w . (a / |a| - b / |b|)^2."""
    total = torch.zeros(len(images))
    both = [(values - SHIFT[:, None, None]) / SCALE[:, None, None] for values in (images, truth)]
    weights = iter(heads(name))
    for number, layer in enumerate(features[: LAYERS[name][-1] + 1]):
        both = [layer(values) for values in both]
        if number in LAYERS[name]:
            a, b = (values / (values.square().sum(1, keepdim=True) + 1e-8).sqrt() for values in both)
            total += (next(weights) * (a - b).square()).sum(1).mean((1, 2))
    assert next(weights, None) is None
    return total


@pytest.mark.parametrize("name", list(BACKBONES))
def test_it_is_the_formula_on_the_network_in_the_file(backbones, sample_set, large, name):
    file, features = backbones[name]
    truth = large.flip(0).clamp(-0.7, 0.9)
    found = Lpips(name, str(file))(sample_set(large, truth))
    expected = written_out(name, features, large, truth)
    assert float(expected.min()) > 1e-3
    assert found.per_sample == pytest.approx(expected.tolist(), rel=1e-4)
    assert found.low < found.value < found.high
    assert {"n", "median", "p95"} <= set(found.details)
    assert len(found.info["network"]) == 64


def test_samples_are_seen_in_the_range_of_images(backbones, sample_set, large):
    metric = Lpips(backbone=str(backbones["alex"][0]))
    wide, clamped = 2 * large, (2 * large).clamp(-1, 1)
    assert metric(sample_set(wide, large)).per_sample == metric(sample_set(clamped, large)).per_sample


def test_equal_images_have_no_distance(backbones, sample_set, large):
    assert Lpips(backbone=str(backbones["alex"][0]))(sample_set(large)).per_sample == [0.0] * 5
    flat = torch.zeros(1, 3, 40, 40)
    found = Lpips(backbone=str(backbones["alex"][0]))(sample_set(flat, flat + 0.5))
    assert torch.tensor(found.value).isfinite()
    assert found.low is None


def test_batches_do_not_matter(backbones, sample_set):
    values, truth = torch.rand(BATCH + 3, 3, 32, 32), torch.rand(BATCH + 3, 3, 32, 32)
    metric = Lpips("squeeze", str(backbones["squeeze"][0]))
    whole = sample_set(values, truth)
    parts = [metric(whole.part(slice(k, k + 7))).per_sample for k in range(0, BATCH + 3, 7)]
    assert metric(whole).per_sample == pytest.approx([value for part in parts for value in part], rel=1e-4)


@pytest.mark.parametrize("name", list(BACKBONES))
def test_smaller_images_leave_the_network_nothing(backbones, sample_set, name):
    least, file = BACKBONES[name].least, backbones[name][0]
    assert torch.tensor(Lpips(name, str(file))(sample_set(torch.rand(1, 3, least, 50))).value).isfinite()
    with pytest.raises(NotApplicableError, match=f"at least {least} pixels, not {least - 1}"):
        Lpips(name, str(file))(sample_set(torch.rand(1, 3, 50, least - 1)))
    small = torch.rand(1, 3, 50, least - 1)
    with pytest.raises(RuntimeError, match="too small"):
        _load(name, file, file.stat().st_mtime_ns)[0](small, small)


def test_weights_in_safetensors(backbones, sample_set, large, tmp_path):
    file, _ = backbones["alex"]
    save_file(torch.load(file, weights_only=True), tmp_path / "alex.safetensors")
    truth = large.flip(0)
    found = Lpips(backbone=str(tmp_path / "alex.safetensors"))(sample_set(large, truth))
    assert found == Lpips(backbone=str(file))(sample_set(large, truth))


def test_a_file_that_is_replaced_is_read_again(backbones, sample_set, large, tmp_path):
    file = tmp_path / "alex.pth"
    shutil.copy(backbones["alex"][0], file)
    metric, samples = Lpips(backbone=str(file)), sample_set(large, large.flip(0))
    first = metric(samples)
    torch.save({name: 0.5 * value for name, value in torch.load(file, weights_only=True).items()}, file)
    second = metric(samples)
    assert first.value != second.value
    assert first.info != second.info


def test_files_that_do_not_hold_the_network(backbones, sample_set, large, tmp_path):
    with pytest.raises(UsageError, match="does not hold torchvision's weights of squeezenet1_1"):
        Lpips("squeeze", str(backbones["alex"][0]))(sample_set(large))
    (tmp_path / "words.pth").write_text("no weights")
    (tmp_path / "words.safetensors").write_text("no weights")
    for name in ("words.pth", "words.safetensors"):
        with pytest.raises(UsageError, match="holds no weights that can be read"):
            Lpips(backbone=str(tmp_path / name))(sample_set(large))


def test_unknown_networks_and_files():
    with pytest.raises(UsageError, match="no network 'resnet'; choose from alex, vgg, squeeze"):
        Lpips("resnet")
    with pytest.raises(UsageError, match=r"no file 'absent\.pth'"):
        Lpips(backbone="absent.pth")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of torchvision, and what it is asked to fetch."""
    asked = []
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *names, **_: asked.append(names))
    return tmp_path / "checkpoints", asked


def test_nothing_is_fetched_unasked(hub):
    folder, asked = hub
    with pytest.raises(UsageError, match="backbone=FILE, or backbone=download"):
        find_backbone("alex", "")
    assert asked == []
    folder.mkdir()
    (folder / "alexnet-owt-7be5be79.pth").touch()
    assert find_backbone("alex", "") == find_backbone("alex", "download") == folder / "alexnet-owt-7be5be79.pth"
    assert asked == []


def test_what_is_fetched_when_asked(hub, backbones, monkeypatch):
    folder, asked = hub

    def download(url, file, hash_prefix, progress):
        asked.append((url, hash_prefix))
        shutil.copy(backbones["squeeze"][0], file)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    file = find_backbone("squeeze", "download")
    assert asked == [(torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url, file.stem.split("-")[1])]
    assert file.parent == folder
    assert file.is_file()


def test_a_fetch_that_fails(hub, monkeypatch):
    def download(*rest, **options):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(UsageError, match="could not fetch its weights of alexnet: no network"):
        find_backbone("alex", "download")


def test_what_has_no_distance(backbones, sample_set, large, images):
    metric = Lpips(backbone=str(backbones["alex"][0]))
    with pytest.raises(NotApplicableError, match="no images"):
        metric(sample_set(torch.zeros(2, 500)))
    with pytest.raises(NotApplicableError, match="in colour"):
        metric(sample_set(large[:, :1]))
    with pytest.raises(DivergedError, match="5 of 5"):
        metric(sample_set(large * torch.nan, large))


def test_fingerprints_follow_the_backbone(backbones, tmp_path):
    file = shutil.copy(backbones["alex"][0], tmp_path / "backbone.pth")
    metric = Lpips(backbone=str(file))
    first = metric.fingerprint()
    assert first == Lpips(backbone=str(backbones["alex"][0])).fingerprint() != ""
    shutil.copy(backbones["squeeze"][0], file)
    assert metric.fingerprint() != first


def test_equal_and_constant_images(backbones, sample_set, large):
    metric = Lpips(backbone=str(backbones["alex"][0]))
    constant = torch.zeros_like(large)
    assert metric(sample_set(constant, constant.clone())).value == pytest.approx(0, abs=1e-6)
    assert metric(sample_set(constant, large)).value > metric(sample_set(large + 0.02, large)).value
