"""The built-in components, offered through the same hooks as anybody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from bnsbench.contract.hookspecs import hookimpl
from bnsbench.contract.selectors import TUNER
from bnsbench.contract.specs import (
    ExecutorSpec,
    ExporterSpec,
    MetricSpec,
    ModelSpec,
    ReportSpec,
    Scalar,
    SolverSpec,
    SuiteSpec,
)
from bnsbench.solvers.specs import DIRECT, SOLVERS

_PACKAGE = Path(__file__).parent

TRAINER = "4"
"""Version of the trainers: raised whenever they may train another table."""

METRICS = "2"
"""Version of all metrics but the PSNR and those of `VARIETY`: raised whenever their records may change.

Some versions also hold hashes of classifiers, from the time when metrics brought them. A new model with features or a judge
has the hash of their weights in its own version instead.
"""

VARIETY = "1"
"""Version of density, coverage, diversity and preference: raised whenever their records may change."""

_CHOICES: dict[str, Scalar] = {
    "objective": "log-mse",
    "optimiser": "gauss-newton",
    "derivative": "auto",
    "pairs": 0,
    "iterations": 0,
    "gain": 0.0,
    "rate": 0.0,
    "checkpointed": False,
    "floor": 0.3,
}
"""What may be chosen about every training; see `bnsbench.training.distil.Choices`."""

_Direction = Literal["higher", "lower"]
_FEATURE_METRICS: tuple[tuple[str, str, _Direction], ...] = (
    ("fid", "Frechet distance of features to those of the data.", "lower"),
    ("fid-gt", "Frechet distance of features to those of the ground truth.", "lower"),
    ("kid", "Kernel distance of features to those of the data.", "lower"),
    ("kid-gt", "Kernel distance of features to those of the ground truth.", "lower"),
    ("precision", "Share of samples that lie among the data.", "higher"),
    ("recall", "Share of the data that lies among the samples.", "higher"),
)
_BALL_METRICS = (
    ("density", "Number of neighbourhoods of the data that a sample lies in, relative to the data's own."),
    ("density-gt", "Number of neighbourhoods of the ground truth that a sample lies in, relative to its own."),
    ("coverage", "Share of the data's neighbourhoods that hold a sample."),
    ("coverage-gt", "Share of the ground truth's neighbourhoods that hold a sample."),
)
_SOUND_METRICS: tuple[tuple[str, str, str, _Direction], ...] = (
    ("snr", "Snr", "Signal-to-noise ratio of the latents, mean over samples.", "higher"),
    ("waveform-snr", "WaveformSnr", "Signal-to-noise ratio of waveforms under the ground truth's phases.", "higher"),
    ("si-sdr", "SiSdr", "Scale-invariant signal-to-distortion ratio of waveforms in phase.", "higher"),
    ("log-spectral", "LogSpectralDistance", "Root mean square difference of spectra in dB.", "lower"),
    ("mcd", "MelCepstralDistortion", "Mel-cepstral distortion.", "lower"),
)


@hookimpl
def bnsbench_models() -> Iterator[ModelSpec]:
    """Yield the exact mixtures and the networks."""
    yield _points("ring8", "Eight round Gaussians on a circle, exact.")
    yield _points("aniso5", "Five elongated Gaussians in a pinwheel, exact.")
    yield ModelSpec(
        "digits-gmm",
        "bnsbench.models.digits.mixture:digits_gmm",
        "8x8 digits by class, as 30 Gaussians, exact.",
        _weights_version("digits-gmm"),
        parameters={"path": "condot"},
        guidable=True,
    )
    yield ModelSpec(
        "textures",
        "bnsbench.models.textures:textures",
        "32x32 colour textures by class, as 24 Gaussians, exact.",
        parameters={"path": "condot"},
        guidable=True,
    )
    yield ModelSpec(
        "scenes",
        "bnsbench.models.scenes.model:scenes",
        "32x32 scenes of two coloured shapes by caption, a network on the CondOT path.",
        _weights_version("scenes"),
        guidable=True,
    )
    yield ModelSpec(
        "speech",
        "bnsbench.models.speech.model:speech",
        "Spoken words by text and voice, or infilling of clips; a network on the CondOT path.",
        _weights_version("speech", "speech-clips"),
        parameters={"task": "synthesis"},
        guidable=True,
        modality="audio",
    )
    yield _digits("ot", "8x8 digits by class, a network trained on the velocity of the CondOT path.")
    yield _digits("cos", "8x8 digits by class, a network trained on v of the cosine path.")
    yield _digits("vp", "8x8 digits by class, a network trained on epsilon of the VP path.")
    yield _fashion("ot", "28x28 pictures of clothes by class, a network trained on the velocity of the CondOT path.")
    yield _fashion("vp", "28x28 pictures of clothes by class, a network trained on epsilon of the VP path.")


@hookimpl
def bnsbench_solvers() -> Iterator[SolverSpec]:
    """Yield the classics and the trained solver."""
    yield from (*SOLVERS, *DIRECT)
    yield SolverSpec(
        "bns",
        "bnsbench.training.recipes.bns:train_bns",
        "A non-stationary solver trained for its model, guidance and NFE; recipe is default or paper.",
        TRAINER,
        parameters={
            "recipe": "default",
            "init": "",
            "sigma_0": 1.0,
            "ladder": "standard",
            "columns": "guided",
            "then": "",
            **_CHOICES,
        },
        kind="trained",
        later=("then",),
        reference="Shaul et al. 2024, Bespoke Non-Stationary Solvers, arXiv 2403.01329",
    )
    yield SolverSpec(
        "pd",
        "bnsbench.models.students:progressive_distillation",
        "Progressive distillation: networks of their own for 16, 8, 4, 2 and 1 steps.",
        kind="distilled",
        reference="Salimans & Ho 2022, Progressive Distillation for Fast Sampling of Diffusion Models, arXiv 2202.00512",
    )
    yield SolverSpec(
        "tuned",
        "bnsbench.training.tuning.tuned_classics:tune",
        "The best classic rule on its best time grid, searched on a few samples of training noise.",
        TUNER,
        parameters={"rules": "", "pairs": 8},
        kind="tuned",
    )
    yield _learned("bst", "Learned scale and time around Euler's (order 1) or the midpoint rule.", "2310.19075", order=2)
    ld3 = _learned("ld3", "Learned times of a classic rule.", "2405.15506", rule="best", decoupled=False)
    yield replace(ld3, version=f"{TRAINER}+tuner{TUNER}")  # the search chooses its rule
    yield _learned(
        "s4s", "Learned coefficients of a classic rule on its best grid.", "2502.17423", rule="unipc", alternate=False
    )
    yield _learned("gs", "Learned times of a classic rule, and corrections that follow them.", "2510.17699", rule="dpm++3m")
    yield _learned("dss", "Learned times and multistep weights that sum to one.", "2505.21114")


@hookimpl
def bnsbench_metrics() -> Iterator[MetricSpec]:
    """Yield distances to the ground truth and to the data, and agreement with the condition."""
    inception: dict[str, Scalar] = {"weights": "", "minimum": 0}
    embedded = _weights_version("digits-classifier", "scenes-classifier", revision=METRICS)
    yield MetricSpec(
        "psnr",
        "bnsbench.metrics.image:Psnr",
        "Peak signal-to-noise ratio to the ground truth, mean over samples.",
        unit="dB",
    )
    yield MetricSpec(
        "ssim", "bnsbench.metrics.image:Ssim", "Structural similarity to the ground truth, mean over samples.", METRICS
    )
    yield MetricSpec(
        "perceptual",
        "bnsbench.metrics.image:Perceptual",
        "LPIPS-like distance to the ground truth in an embedded classifier, mean over samples.",
        embedded,
        direction="lower",
    )
    for name, what, direction in _FEATURE_METRICS:
        target = f"bnsbench.metrics.distribution:{name.replace('-', '_')}"
        parameters = inception if name.endswith("-gt") else {**inception, "data": ""}
        yield MetricSpec(name, target, what, embedded, parameters=parameters, direction=direction)
    for name, what in _BALL_METRICS:
        target = f"bnsbench.metrics.density_coverage:{name.replace('-', '_')}"
        parameters = inception if name.endswith("-gt") else {**inception, "data": ""}
        yield MetricSpec(name, target, what, VARIETY, parameters=parameters)
    yield MetricSpec(
        "diversity",
        "bnsbench.metrics.diversity:Diversity",
        "Distance of samples of the same condition, relative to the ground truth's own.",
        VARIETY,
        parameters={"distance": "features", "seeds": 8, "weights": ""},
    )
    yield MetricSpec(
        "inception-score",
        "bnsbench.metrics.inception_score:InceptionScore",
        "How surely images belong to a class, and to how many classes.",
        _weights_version("digits-classifier", revision=METRICS),
        parameters={**inception, "splits": 10},
    )
    network: dict[str, Scalar] = {"network": "", "minimum": 0}
    for name, what in (("fad", "the data"), ("fad-gt", "the ground truth")):
        yield MetricSpec(
            name,
            f"bnsbench.metrics.distribution:{name.replace('-', '_')}",
            f"Frechet audio distance of features to those of {what}.",
            _weights_version("speech-classifier", revision=METRICS),
            parameters=network if name.endswith("-gt") else {**network, "data": ""},
            direction="lower",
        )
    yield MetricSpec(
        "accuracy",
        "bnsbench.metrics.alignment:ClassAccuracy",
        "Share of samples classified as their condition.",
        _weights_version("digits-classifier", revision=METRICS),
    )
    yield MetricSpec(
        "alignment",
        "bnsbench.metrics.alignment:AttributeAlignment",
        "Share of samples that show all that their caption says.",
        _weights_version("scenes-classifier", revision=METRICS),
    )
    yield MetricSpec(
        "word-accuracy",
        "bnsbench.metrics.alignment:WordAccuracy",
        "Share of clips whose word is recognised.",
        _weights_version("speech-classifier", revision=METRICS),
    )
    yield MetricSpec(
        "preference",
        "bnsbench.metrics.preference:Preference",
        "How probably a reader of the conditions prefers samples to the ground truth of the same noise.",
        VARIETY,
    )
    for name, attribute, what, direction in _SOUND_METRICS:
        yield MetricSpec(name, f"bnsbench.metrics.audio:{attribute}", what, METRICS, direction=direction, unit="dB")


@hookimpl
def bnsbench_suites() -> Iterator[SuiteSpec]:
    """Yield the suites in the package's folder."""
    folder = _PACKAGE / "suite" / "suites"
    yield SuiteSpec("default", folder / "default.toml", "The embedded models, the classics and bns.")
    yield SuiteSpec("learned", folder / "learned.toml", "Every learned family beside the best classics.")
    yield SuiteSpec("quick", folder / "quick.toml", "A first look that takes a minute.")
    yield SuiteSpec("paper", folder / "paper.toml", "The paper's figures, mirrored on the embedded models.")


@hookimpl
def bnsbench_executors() -> Iterator[ExecutorSpec]:
    """Yield the ways to run cells on one machine."""
    yield ExecutorSpec("local", "bnsbench.suite.executors:LocalExecutor", "One cell after the other, in this process.")
    yield ExecutorSpec(
        "processes",
        "bnsbench.suite.processes:ProcessExecutor",
        "Worker processes, one per core or CUDA device; a crash or a hang costs one cell.",
        parameters={"workers": 0},
    )


@hookimpl
def bnsbench_reports() -> Iterator[ReportSpec]:
    """Yield the renderings of a leaderboard."""
    for name, function, suffix, summary in (
        ("markdown", "markdown", ".md", "Solvers by NFE, in Markdown."),
        ("latex", "latex", ".tex", "Solvers by NFE, in LaTeX."),
        ("csv", "csv", ".csv", "One row per cell."),
        ("json", "to_json", ".json", "One object per cell."),
    ):
        parameters: dict[str, Scalar] = {"metric": "", "view": "standings"}
        yield ReportSpec(name, f"bnsbench.report.tables:{function}", summary, parameters=parameters, suffix=suffix)


@hookimpl
def bnsbench_exporters() -> Iterator[ExporterSpec]:
    """Yield the records of the built-in exporters, each of which writes one file that needs torch at most."""
    for name, function, summary, parameters in (
        ("kdiffusion", "files:kdiffusion", "A sampler for k-diffusion, ComfyUI, Forge, A1111 and networks of EDM.", {}),
        (
            "odeint",
            "files:odeint",
            "A drop-in for torchdiffeq's odeint, for flow_matching, SiT, torchcfm and others.",
            {"time": "0 to 1"},
        ),
        (
            "python",
            "files:python",
            "A module that imports nothing, for NumPy, JAX, torch and plain numbers.",
            {"time": "0 to 1"},
        ),
        ("json", "files:plain_json", "The numbers and what they are for, for programs in any language.", {}),
        (
            "sigmas",
            "sigmas:sigmas",
            "Times alone, as the list of sigmas that other samplers take; for rules that they have too.",
            {"shift": 1.0},
        ),
    ):
        yield ExporterSpec(name, f"bnsbench.export.{function}", summary, parameters=dict(parameters))


def _learned(name: str, summary: str, arxiv: str, **parameters: Scalar) -> SolverSpec:
    """Return the record of a learned solver that by default shares objective and optimiser with bns."""
    target = f"bnsbench.training.recipes.learned:train_{name}"
    everything = {**parameters, **_CHOICES}
    return SolverSpec(name, target, summary, TRAINER, everything, kind="trained", reference=f"arXiv {arxiv}")


def _points(name: str, summary: str) -> ModelSpec:
    """Return the record of a mixture in the plane, whose ``path`` is one of `bnsbench.models.mixtures.mixture_path`."""
    target = f"bnsbench.models.mixtures:{name}"
    return ModelSpec(name, target, summary, parameters={"path": "condot"}, modality="points")


def _digits(variant: str, summary: str) -> ModelSpec:
    name = f"digits-{variant}"
    return ModelSpec(name, f"bnsbench.models.digits.model:digits_{variant}", summary, _weights_version(name), guidable=True)


def _fashion(variant: str, summary: str) -> ModelSpec:
    name = f"fashion-{variant}"
    version = _weights_version(name, "fashion-classifier", "fashion-pictures")
    return ModelSpec(name, f"bnsbench.models.fashion.model:fashion_{variant}", summary, version, guidable=True)


def _weights_version(*names: str, revision: str = "1") -> str:
    """Return a version that changes with shipped weights, and with the revision of what is done with them.

    Weights that are missing fail when they are loaded.
    """
    manifest = _PACKAGE / "models" / "weights" / "manifest.json"
    entries = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    return "+".join([revision, *(entries[name]["sha256"][:12] for name in names if name in entries)])
