"""What the package offers to bnsbench; importing this imports neither torch nor diffusers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bnsbench.plugin import ExporterSpec, MetricSpec, ModelSpec, Scalar, SolverSpec, SuiteSpec, hookimpl
from bnsbench_diffusers import __version__

_SUITES = Path(__file__).parent / "suites"


@hookimpl
def bnsbench_models() -> Iterator[ModelSpec]:
    """Yield the model that any supported pipeline becomes."""
    yield ModelSpec(
        name="diffusers",
        target="bnsbench_diffusers.models.registry:diffusers_model",
        summary="The denoiser of a diffusers pipeline, from a folder or a hub id.",
        version=__version__,
        parameters={
            "path": "",
            "variant": "",
            "revision": "",
            "prompts": "",
            "negative": "",
            "size": 0,
            "null_class": -1,
            "embedded_guidance": 3.5,
            "seconds": 0.0,
        },
        guidable=True,
    )


@hookimpl
def bnsbench_solvers() -> Iterator[SolverSpec]:
    """Yield one record for all deterministic schedulers."""
    yield SolverSpec(
        name="diffusers",
        target="bnsbench_diffusers.schedulers.traced:sample",
        summary="Any deterministic scheduler of diffusers, options of its own in brackets.",
        parameters={"scheduler": "", "sigmas": "own", "mu": ""},
        reference="https://huggingface.co/docs/diffusers/api/schedulers/overview",
    )


@hookimpl
def bnsbench_metrics() -> Iterator[MetricSpec]:
    """Yield metrics by networks whose weights the user has."""
    scores = "bnsbench_diffusers.metrics.text_scores"
    yield MetricSpec(
        name="clip-score",
        target=f"{scores}:ClipScore",
        summary="100 cos of CLIP's embeddings of image and prompt, mean over samples.",
        version="2",
        parameters={"path": ""},
    )
    yield MetricSpec(
        name="pick-score",
        target=f"{scores}:PickScore",
        summary="What people prefer of images for a prompt by PickScore, mean over samples.",
        version="2",
        parameters={"path": "", "processor": ""},
    )
    yield MetricSpec(
        name="clap-score",
        target=f"{scores}:ClapScore",
        summary="100 cos of CLAP's embeddings of sound and prompt, mean over samples.",
        version="2",
        parameters={"path": ""},
    )
    yield MetricSpec(
        name="lpips",
        target="bnsbench_diffusers.metrics.lpips:Lpips",
        summary="Perceptual distance to the ground truth by LPIPS, mean over samples.",
        version="2",
        parameters={"network": "alex", "backbone": ""},
        direction="lower",
    )
    network: dict[str, Scalar] = {"path": "", "minimum": 0}
    for name, what in (("fad-clap", "the data"), ("fad-clap-gt", "the ground truth")):
        yield MetricSpec(
            name=name,
            target=f"bnsbench_diffusers.metrics.clap_distance:{name.replace('-', '_')}",
            summary=f"Frechet audio distance of CLAP's embeddings to those of {what}.",
            version="2",
            parameters=network if name.endswith("-gt") else {**network, "data": ""},
            direction="lower",
        )


@hookimpl
def bnsbench_exporters() -> Iterator[ExporterSpec]:
    """Yield the schedulers that run any solver in a pipeline."""
    parameters: dict[str, Scalar] = {"pipeline": "", "prediction_type": ""}
    yield ExporterSpec(
        name="diffusers",
        target="bnsbench_diffusers.schedulers.export:export",
        summary="A scheduler for pipelines of diffusers, where this package is installed.",
        parameters=parameters,
    )
    yield ExporterSpec(
        name="diffusers-folder",
        target="bnsbench_diffusers.schedulers.folder_export:export_folder",
        summary="A scheduler with its code, for pipelines of diffusers anywhere, and its model card.",
        parameters=parameters,
    )


@hookimpl
def bnsbench_suites() -> Iterator[SuiteSpec]:
    """Yield the suites of public checkpoints; their files say what to download."""
    yield SuiteSpec(
        name="imagenet64", file=_SUITES / "imagenet64.toml", summary="Class-conditional ImageNet of 64x64 pixels."
    )
    yield SuiteSpec(
        name="imagenet256-dit", file=_SUITES / "imagenet256-dit.toml", summary="DiT-XL/2 on ImageNet of 256x256 pixels."
    )
    yield SuiteSpec(
        name="text-to-image",
        file=_SUITES / "text-to-image.toml",
        summary="Stable Diffusion 3 and 1.5 on a file of captions.",
    )
    yield SuiteSpec(
        name="text-to-audio",
        file=_SUITES / "text-to-audio.toml",
        summary="AudioLDM2 and Stable Audio on a file of captions.",
    )
