from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import torch
from PIL import Image
from torch.utils.data import Dataset
from torch_fidelity import calculate_metrics

from bnsbench.errors import DivergedError, NotApplicableError, UsageError
from bnsbench.flows.model import Reference
from bnsbench.metrics.distribution import (
    FrechetDistance,
    fid,
    fid_gt,
    frechet_distance,
    kid,
    kid_gt,
    precision,
    recall,
)
from bnsbench.metrics.extractors import DIGITS, extractor_for, to_uint8


class Images(Dataset):
    """uint8 images as bare tensors, the only kind of dataset that torch-fidelity accepts."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index]


def fidelity(images: torch.Tensor, reference: torch.Tensor) -> float:
    extractor_for((1, 8, 8))
    result = calculate_metrics(
        input1=Images(to_uint8(images)),
        input2=Images(to_uint8(reference)),
        feature_extractor=DIGITS,
        fid=True,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        batch_size=256,
    )
    return result["frechet_inception_distance"]


def floor(features: torch.Tensor, labels: torch.Tensor | None, n: int) -> float:
    return fid().floor(features, labels, n)["floor"]


def test_distance_agrees_with_scipy_s_matrix_root():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(300, 6)) + 0.5
    s, t = np.cov(a.T), np.cov(b.T)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(s + t - 2 * scipy.linalg.sqrtm(s @ t).real)
    assert frechet_distance(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-9)


def test_distance_of_shifted_sets_is_the_squared_shift():
    features = torch.randn(200, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert frechet_distance(features, features + 0.3) == pytest.approx(5 * 0.3**2, rel=1e-6)


def test_distance_to_the_data_equals_torch_fidelity_s(sample_set, images):
    noisy = (images.samples[:600] + 0.3 * torch.randn(600, 1, 8, 8, generator=torch.Generator().manual_seed(0))).clamp(
        -1.5, 1.5
    )
    result = fid()(sample_set(noisy, images.samples[:600]))
    assert result.value == pytest.approx(fidelity(noisy, images.samples), rel=1e-6, abs=1e-6)
    assert result.details["reference_n"] == 1797
    assert 0 < result.details["floor"] < result.value


def test_distance_to_the_truth_equals_torch_fidelity_s(sample_set, images):
    noisy = images.samples[:500] + 0.2 * torch.randn(500, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    result = fid_gt()(sample_set(noisy, images.samples[:500]))
    assert result.value == pytest.approx(fidelity(noisy, images.samples[:500]), rel=1e-6, abs=1e-6)
    assert "floor" not in result.details


def test_identical_sets_are_at_distance_zero(sample_set, images):
    chosen = images.samples[:500]
    assert fid_gt()(sample_set(chosen, chosen.clone())).value == pytest.approx(0, abs=1e-4)


def test_distance_grows_with_the_error(sample_set, images):
    truth = images.samples[:500]
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    values = [fid_gt()(sample_set(truth + size * noise, truth)).value for size in (0.05, 0.2, 0.5)]
    assert values == sorted(values)
    assert values[2] > 4 * values[0]


def test_too_few_samples_are_refused_unless_allowed(sample_set, images):
    few = sample_set(images.samples[:40], images.samples[40:80])
    with pytest.raises(NotApplicableError, match="32 features needs at least 480 samples, not 40"):
        fid()(few)
    assert fid(minimum=40)(few).value > 0
    with pytest.raises(NotApplicableError, match="not 1"):
        fid(minimum=1)(sample_set(images.samples[:1], images.samples[:1]))


def test_constant_images_have_a_finite_distance(sample_set, images):
    constant = torch.zeros(480, 1, 8, 8)
    value = fid()(sample_set(constant, images.samples[:480])).value
    assert np.isfinite(value)
    assert value > 1


def test_diverged_samples_raise(sample_set, images):
    broken = images.samples[:500].clone()
    broken[0] = torch.nan
    with pytest.raises(DivergedError, match="1 of 500"):
        fid()(sample_set(broken, images.samples[:500]))


def test_models_without_data_have_no_distance_to_it(sample_set, images, model, monkeypatch):
    monkeypatch.setattr(type(model), "reference", lambda _: None)
    with pytest.raises(NotApplicableError, match="no data set"):
        fid()(sample_set(images.samples[:500], images.samples[:500]))


def test_floor_is_small_and_shrinks_with_more_samples(images):
    features = extractor_for((1, 8, 8)).features(to_uint8(images.samples))
    assert 0 < floor(features, None, 800) < floor(features, None, 100)
    assert floor(features, images.labels, 800) < floor(features, images.labels, 100)


def test_floor_deals_the_classes_out_evenly():
    # Class 0 sits at the origin and class 1 at distance 10; the even draw leaves 10 and 30 of them, 10 and 10 chosen.
    labels = torch.tensor([0] * 20 + [1] * 40)
    features = torch.stack([labels * 10.0, torch.zeros(60)], dim=1)
    # Means 5 and 7.5; variances 25 * 20/19 and 18.75 * 40/39.
    expected = 2.5**2 + (math.sqrt(25 * 20 / 19) - math.sqrt(18.75 * 40 / 39)) ** 2
    assert floor(features, labels, 20) == pytest.approx(expected, rel=1e-5)


def test_result_names_its_extractor(sample_set, images):
    result = FrechetDistance("truth")(sample_set(images.samples[:480], images.samples[480:960]))
    assert result.info == {"extractor": extractor_for((1, 8, 8)).fingerprint}
    assert (result.details["n"], result.details["width"]) == (480, 32)


def cubic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def test_kernel_distance_is_the_unbiased_estimate(sample_set, images):
    truth = images.samples[:300]
    noisy = truth + 0.5 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    result = kid_gt()(sample_set(noisy, truth))
    a, b = (extractor_for((1, 8, 8)).features(to_uint8(part)).double().numpy() for part in (noisy, truth))
    within = [(cubic(x, x).sum() - np.trace(cubic(x, x))) / (300 * 299) for x in (a, b)]
    # As many samples as a subset holds: every subset is the whole set, and gives the same.
    assert result.value == pytest.approx(sum(within) - 2 * cubic(a, b).mean(), rel=1e-5)
    assert result.details["subset"] == 300
    assert result.details["subset_deviation"] == pytest.approx(0, abs=1e-6)
    assert kid()(sample_set(noisy, truth)).value > 5 * abs(kid()(sample_set(truth, truth)).details["floor"])


def test_precision_and_recall_agree_with_a_nearest_neighbour_search(sample_set, images):
    made = images.samples[:400] + 0.4 * torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = sample_set(made, images.samples[:400])
    a, b = (extractor_for((1, 8, 8)).features(to_uint8(part)).numpy() for part in (made, images.samples))
    between = scipy.spatial.distance.cdist(a, b)
    radii = [np.sort(scipy.spatial.distance.cdist(x, x), axis=1)[:, 3] for x in (a, b)]
    assert precision()(samples).value == pytest.approx((between <= radii[1]).any(1).mean(), abs=0.01)
    assert recall()(samples).value == pytest.approx((between <= radii[0][:, None]).any(0).mean(), abs=0.01)
    assert precision()(samples).value < 0.9 * precision()(samples).details["floor"]


@pytest.mark.parametrize(("metric", "least"), [(kid, 100), (kid_gt, 100), (precision, 250), (recall, 250)])
def test_other_metrics_refuse_too_few_samples_and_broken_ones(metric, least, sample_set, images):
    few = images.samples[: least - 1]
    with pytest.raises(NotApplicableError, match=f"needs at least {least} samples, not {least - 1}"):
        metric()(sample_set(few, few))
    assert math.isfinite(metric(minimum=50)(sample_set(few, few)).value)
    broken = images.samples[:least].clone()
    broken[3] = torch.nan
    with pytest.raises(DivergedError, match=f"1 of {least}"):
        metric()(sample_set(broken, images.samples[:least]))


@pytest.fixture
def without_data(model, monkeypatch):
    monkeypatch.setattr(type(model), "reference", lambda _: None)


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """The first thousand digits as a folder of PNG files, in their order."""
    folder = tmp_path_factory.mktemp("digits")
    for number, image in enumerate(to_uint8(images.samples[:1000])):
        Image.fromarray(image[0].numpy()).save(folder / f"{number:04}.png")
    return folder


def archive(images: torch.Tensor, **statistics: np.ndarray) -> dict[str, np.ndarray]:
    return {"arr_0": to_uint8(images).permute(0, 2, 3, 1).numpy(), **statistics}


@pytest.mark.parametrize("metric", [fid, kid, precision, recall])
@pytest.mark.usefixtures("without_data")
def test_data_in_files_stand_in_for_the_model_s(metric, sample_set, images, folder, tmp_path):
    made = images.samples[1000:1500] + 0.3 * torch.randn(500, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    np.savez(tmp_path / "data.npz", **archive(images.samples[:1000]))
    samples = sample_set(made, images.samples[:500])
    with pytest.raises(NotApplicableError, match="give data=FOLDER"):
        metric()(samples)
    found = [metric(data=str(place))(samples) for place in (folder, tmp_path / "data.npz")]
    assert found[1].value == pytest.approx(found[0].value, rel=1e-5)
    assert {name: found[0].details[name] for name in ("n", "reference_n")} == {"n": 500, "reference_n": 1000}
    assert found[1].details["floor"] == pytest.approx(found[0].details["floor"], rel=1e-4)
    assert found[0].info["reference_kind"] == "images"
    assert found[0].info["reference"] != found[1].info["reference"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(samples.model), "reference", lambda _: Reference(images.samples[:1000]))
        own = metric()(samples)
    assert (own.value, own.details["floor"]) == pytest.approx((found[0].value, found[0].details["floor"]), rel=1e-4)


def test_distance_to_files_equals_torch_fidelity_s(sample_set, images, folder):
    made = images.samples[1000:1500] + 0.2 * torch.randn(500, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    extractor_for((1, 8, 8))
    expected = calculate_metrics(
        input1=Images(to_uint8(made)),
        input2=str(folder),
        feature_extractor=DIGITS,
        fid=True,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        batch_size=256,
    )
    found = fid(data=str(folder))(sample_set(made, made))
    assert found.value == pytest.approx(expected["frechet_inception_distance"], rel=1e-5)


def test_published_statistics_are_enough_for_the_frechet_distance_alone(sample_set, images, tmp_path):
    features = extractor_for((1, 8, 8)).features(to_uint8(images.samples)).double().numpy()
    statistics = {"mu": features.mean(0), "sigma": np.cov(features, rowvar=False)}
    np.savez(tmp_path / "stats.npz", **statistics)
    np.savez(tmp_path / "both.npz", **archive(images.samples[:600], **statistics))
    samples = sample_set(images.samples[:500] + 0.1, images.samples[:500])
    to_all, to_some = fid()(samples), fid_gt()(sample_set(samples.samples, images.samples[:500]))
    found = fid(data=str(tmp_path / "stats.npz"))(samples)
    assert found.value == pytest.approx(to_all.value, rel=1e-5)
    assert found.info["reference_kind"] == "statistics"
    assert not {"floor", "reference_n"} & found.details.keys()
    both = fid(data=str(tmp_path / "both.npz"))(samples)
    assert both.details["to_statistics"] == pytest.approx(to_all.value, rel=1e-5)
    assert both.value != pytest.approx(to_all.value, rel=1e-3)
    assert both.value == pytest.approx(to_some.value, rel=0.3)
    assert both.info["reference_kind"] == "images"
    for metric in (kid, precision, recall):
        with pytest.raises(NotApplicableError, match=r"stats\.npz holds the mean .* give real images"):
            metric(data=str(tmp_path / "stats.npz"))(samples)
        assert "to_statistics" not in metric(data=str(tmp_path / "both.npz"))(samples).details


def test_data_unlike_the_samples_are_refused(sample_set, images, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "0.png")
    Image.new("L", (8, 9)).save(tmp_path / "1.png")
    with pytest.raises(UsageError, match=r"1\.png is 8x9 and the samples are 8x8"):
        fid(data=str(tmp_path))(sample_set(images.samples[:500], images.samples[:500]))


def test_floors_are_measured_once_for_as_many_samples(sample_set, images, monkeypatch):
    metric, asked = fid(), []
    monkeypatch.setattr(type(metric), "floor", lambda self, *given: asked.append(given[2]) or {"floor": 0.5})
    for count in (500, 500, 600):
        assert metric(sample_set(images.samples[:count], images.samples[:count])).details["floor"] == 0.5
    assert asked == [500, 600]
