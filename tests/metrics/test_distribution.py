from __future__ import annotations

import math
import shutil

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import torch
from PIL import Image
from torch_fidelity.metric_fid import fid_statistics_to_metric

from bnsbench.errors import DivergedError, NotApplicableError, UsageError
from bnsbench.flows.model import Reference
from bnsbench.metrics import distribution, resampling
from bnsbench.metrics.distribution import (
    FrechetDistance,
    fid,
    fid_gt,
    frechet_distance,
    kid,
    kid_gt,
    precision,
    recall,
    statistics_in_parts,
)
from bnsbench.metrics.extractors import Extractor, own_extractor, to_uint8
from bnsbench.metrics.inception_score import InceptionScore
from bnsbench.metrics.resampling import resamples
from bnsbench.models.digits.features import digit_features
from tests.metrics.fidelity import fidelity

FID = "frechet_inception_distance"


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
    assert result.value == pytest.approx(fidelity(noisy, images.samples, fid=True)[FID], rel=1e-6, abs=1e-6)
    assert result.details["reference_n"] == 1797
    assert 0 < result.details["floor"] < result.value


def test_distance_to_the_truth_equals_torch_fidelity_s(sample_set, images):
    noisy = images.samples[:500] + 0.2 * torch.randn(500, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    result = fid_gt()(sample_set(noisy, images.samples[:500]))
    assert result.value == pytest.approx(fidelity(noisy, images.samples[:500], fid=True)[FID], rel=1e-6, abs=1e-6)
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
    features = own_extractor(digit_features()).features(to_uint8(images.samples))
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
    assert result.info == {"extractor": own_extractor(digit_features()).fingerprint}
    assert (result.details["n"], result.details["width"]) == (480, 32)


def cubic(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def test_kernel_distance_is_the_unbiased_estimate(sample_set, images):
    truth = images.samples[:300]
    noisy = truth + 0.5 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    result = kid_gt()(sample_set(noisy, truth))
    a, b = (own_extractor(digit_features()).features(to_uint8(part)).double().numpy() for part in (noisy, truth))
    within = [(cubic(x, x).sum() - np.trace(cubic(x, x))) / (300 * 299) for x in (a, b)]
    # As many samples as a subset holds: every subset is the whole set, and gives the same.
    assert result.value == pytest.approx(sum(within) - 2 * cubic(a, b).mean(), rel=1e-5)
    assert result.details["subset"] == 300
    assert result.details["subset_deviation"] == pytest.approx(0, abs=1e-6)
    assert kid()(sample_set(noisy, truth)).value > 5 * abs(kid()(sample_set(truth, truth)).details["floor"])


def test_precision_and_recall_agree_with_a_nearest_neighbour_search(sample_set, images):
    made = images.samples[:400] + 0.4 * torch.randn(400, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    samples = sample_set(made, images.samples[:400])
    a, b = (own_extractor(digit_features()).features(to_uint8(part)).numpy() for part in (made, images.samples))
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


def pixels(images: torch.Tensor) -> np.ndarray:
    """Images as archives hold them."""
    return to_uint8(images).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("metric", [fid, kid, precision, recall])
@pytest.mark.usefixtures("without_data")
def test_data_in_files_stand_in_for_the_model_s(metric, sample_set, images, folder, tmp_path):
    made = images.samples[1000:1500] + 0.3 * torch.randn(500, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    np.savez(tmp_path / "data.npz", arr_0=pixels(images.samples[:1000]))
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
    expected = fidelity(made, str(folder), fid=True)
    found = fid(data=str(folder))(sample_set(made, made))
    assert found.value == pytest.approx(expected[FID], rel=1e-5)


def test_published_statistics_are_enough_for_the_frechet_distance_alone(sample_set, images, tmp_path):
    features = own_extractor(digit_features()).features(to_uint8(images.samples)).double().numpy()
    mu, sigma = features.mean(0), np.cov(features, rowvar=False)
    np.savez(tmp_path / "stats.npz", mu=mu, sigma=sigma)
    np.savez(tmp_path / "both.npz", arr_0=pixels(images.samples[:600]), mu=mu, sigma=sigma)
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

    def floor_of(self, features, labels, n):
        asked.append(n)
        return {"floor": 0.5}

    monkeypatch.setattr(type(metric), "floor", floor_of)
    for count in (500, 500, 600):
        assert metric(sample_set(images.samples[:count], images.samples[:count])).details["floor"] == 0.5
    assert asked == [500, 600]


def fidelity_of_features(a: torch.Tensor, b: torch.Tensor) -> float:
    statistics = [{"mu": x.double().numpy().mean(0), "sigma": np.cov(x.double().numpy(), rowvar=False)} for x in (a, b)]
    return fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"]


def test_replicates_are_distances_of_resampled_images(sample_set, images):
    truth = images.samples[:500]
    made = truth + 0.3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    features = [own_extractor(digit_features()).features(to_uint8(part)) for part in (made, truth, images.samples)]
    to_data, to_truth = fid()(sample_set(made, truth)), fid_gt()(sample_set(made, truth))
    assert to_data.replicates is not None
    assert to_truth.replicates is not None
    for b, rows in enumerate(resamples(500)[:4]):
        paired = fidelity_of_features(features[0][rows], features[1][rows])
        assert to_data.replicates[b] == pytest.approx(fidelity_of_features(features[0][rows], features[2]), rel=1e-6)
        assert to_truth.replicates[b] == pytest.approx(paired, rel=1e-6)
    assert "replicates" not in to_data.info


@pytest.mark.parametrize("metric", [fid, fid_gt, kid, kid_gt, precision, recall])
def test_replicates_of_solvers_are_pairs(metric, sample_set, images):
    """Differences of replicates scatter less than those of strangers, and tell a coarse solver from a fine one."""
    truth = images.samples[:250]
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    fine, coarse = (
        torch.tensor(metric(minimum=4)(sample_set(truth + size * noise, truth)).replicates, dtype=torch.float64)
        for size in (0.05, 0.4)
    )
    assert fine.shape == (100,)
    assert float((coarse - fine).std()) <= float((coarse - fine.roll(1)).std())
    difference = coarse - fine
    better = difference < 0 if metric in {precision, recall} else difference > 0
    assert float(better.double().mean()) > 0.95 or metric is recall


def test_why_there_are_no_replicates(sample_set, images, monkeypatch):
    few = sample_set(images.samples[:9] + 0.1, images.samples[:9])
    assert fid_gt(minimum=2)(few).info["replicates"] == "none, for there are fewer than 10 samples"
    samples = sample_set(images.samples[:300] + 0.1, images.samples[:300])
    monkeypatch.setattr(resampling, "WIDEST", 31)
    monkeypatch.setattr(resampling, "MOST_PAIRS", 100_000)
    for metric, said in ((fid_gt, "of 32 features"), (kid_gt, "of 300 samples"), (precision, "and 1797 real ones")):
        found = metric(minimum=10)(samples)
        assert found.replicates is None
        assert said in found.info["replicates"]


@pytest.mark.parametrize("metric", [fid, kid, precision, recall])
def test_the_truth_has_a_score_of_its_own(metric, sample_set, images, tmp_path, monkeypatch):
    truth = images.samples[:250]
    made = truth + 0.3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    one, asked = metric(minimum=4), []
    judge = one.judge

    def counted(*given):
        asked.append(1)
        return judge(*given)

    monkeypatch.setattr(one, "judge", counted)
    found = one(sample_set(made, truth, cache=tmp_path))
    assert found.details["truth"] == metric(minimum=4)(sample_set(truth.clone(), truth)).value != found.value
    # It is judged once for all solvers of a field, and its features are kept for other processes.
    assert one(sample_set(made + 0.1, truth, cache=tmp_path)).details["truth"] == found.details["truth"]
    assert len(asked) == 3
    one(sample_set(made[:200], truth[:200]))
    assert len(asked) == 5
    assert len(list(tmp_path.glob("*.safetensors"))) <= 1


def test_one_feature_is_enough(monkeypatch):
    a, b = (torch.randn(50, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in (0, 1))
    expected = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    assert frechet_distance(a, b) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize(("metric", "fewest"), [(fid, 2), (kid, 2), (precision, 4), (recall, 4)])
def test_data_sets_that_are_too_small_are_refused(metric, fewest, sample_set, images, model, monkeypatch):
    monkeypatch.setattr(type(model), "reference", lambda _: Reference(images.samples[: fewest - 1]))
    samples = sample_set(images.samples[:20], images.samples[:20])
    with pytest.raises(NotApplicableError, match=f"needs at least {fewest} real samples, and there are {fewest - 1}"):
        metric(minimum=10)(samples)
    monkeypatch.setattr(type(model), "reference", lambda _: Reference(images.samples[:fewest]))
    found = metric(minimum=10)(samples)
    assert math.isfinite(found.value)
    assert "floor" not in found.details


def test_features_that_are_not_finite_are_diverged(sample_set, images, monkeypatch):
    class Broken(torch.nn.Module):
        def forward(self, shown):
            values = shown.flatten(1)[:, :3].float()
            values[shown.flatten(1).sum(dim=1) > 10_000] = torch.inf
            return (values,)

    made = images.samples[:40].clone()
    made[:3] = 1.0
    monkeypatch.setattr(FrechetDistance, "extractor", lambda *_: Extractor(Broken(), 3, "broken"))
    with pytest.raises(DivergedError, match="3 of 40 samples' features are not finite"):
        fid_gt(minimum=2)(sample_set(made, images.samples[:40]))


@pytest.mark.usefixtures("without_data")
def test_fingerprints_follow_the_content_of_files(sample_set, images, folder, tmp_path):
    assert fid().fingerprint() == kid_gt().fingerprint() == InceptionScore().fingerprint() == ""
    data = shutil.copytree(folder, tmp_path / "data")
    metric = kid(data=str(data))
    first = metric.fingerprint()
    assert first == precision(data=str(folder)).fingerprint() != ""
    Image.new("L", (8, 8)).save(data / "0000.png")
    assert metric.fingerprint() != first
    shutil.copy(folder / "0000.png", data)
    assert metric.fingerprint() == first
    (data / "notes.txt").write_text("no sample")
    assert metric.fingerprint() == first
    (tmp_path / "weights.pth").write_bytes(b"weights")
    given = [make(str(tmp_path / "weights.pth")) for make in (fid, InceptionScore)]
    before = [metric.fingerprint() for metric in given]
    assert before[0] == before[1]
    assert len({*before, first, fid(str(tmp_path / "weights.pth"), data=str(data)).fingerprint()}) == 3
    (tmp_path / "weights.pth").write_bytes(b"other weights")
    assert all(metric.fingerprint() not in {"", old} for metric, old in zip(given, before, strict=True))
    (tmp_path / "weights.pth").unlink()
    with pytest.raises(UsageError, match=r"weights\.pth cannot be read"):
        given[0].fingerprint()


def test_weights_of_another_network_are_named(sample_set, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"weights")
    colours = torch.zeros(12, 3, 20, 20)
    with pytest.raises(UsageError, match=r"weights\.pth does not hold Inception-v3's weights"):
        fid_gt(str(tmp_path / "weights.pth"), minimum=2)(sample_set(colours, colours))


def test_moments_in_parts_are_those_of_numpy_and_give_the_same_distance(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    features = 5.0 + torch.randn(300, 7, generator=generator) @ torch.randn(7, 7, generator=generator)
    monkeypatch.setattr(distribution, "ROWS", 64)
    found = statistics_in_parts(features)
    assert found["mu"] == pytest.approx(features.double().numpy().mean(0), rel=1e-13)
    assert found["sigma"] == pytest.approx(np.cov(features.double().numpy(), rowvar=False), rel=1e-12)
    whole = frechet_distance(features, 1.1 * features)
    monkeypatch.setattr(distribution, "WHOLE_NUMBERS", 0)
    assert frechet_distance(features, 1.1 * features) == pytest.approx(whole, rel=1e-9)
