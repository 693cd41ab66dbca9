"""What the package offers to bnsbench; importing this imports neither torch nor diffusers."""

from __future__ import annotations

from collections.abc import Iterator

from bnsbench.hookspecs import hookimpl
from bnsbench.specs import ExporterSpec, SolverSpec


@hookimpl
def bnsbench_solvers() -> Iterator[SolverSpec]:
    """Yield one record for all deterministic schedulers."""
    yield SolverSpec(
        "diffusers",
        "bnsbench_diffusers.schedulers.traced:sample",
        "Any deterministic scheduler of diffusers, options of its own in brackets.",
        parameters={"scheduler": "UniPCMultistep", "sigmas": "own"},
        reference="https://huggingface.co/docs/diffusers/api/schedulers/overview",
    )


@hookimpl
def bnsbench_exporters() -> Iterator[ExporterSpec]:
    """Yield the scheduler that runs any solver in a pipeline."""
    yield ExporterSpec(
        "diffusers",
        "bnsbench_diffusers.schedulers.export:export",
        "A scheduler for pipelines of diffusers.",
        parameters={"pipeline": "", "prediction_type": ""},
    )
