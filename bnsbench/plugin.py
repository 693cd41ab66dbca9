"""What authors of plugins build on; with `bnsbench.paths` and `bnsbench.testing` all that a plugin needs of bnsbench.

A module with hooks imports from here without loading torch: each name is imported when it is first used. `GROUPS` says what
there is, by purpose; each object's own documentation says the rest.
"""

# ruff: noqa: PLC0414 - a name imported as itself is one that type checkers let others import from here

from __future__ import annotations

from bnsbench._lazy import lazily

TYPE_CHECKING = False  # type checkers take a variable of this name to be true
if TYPE_CHECKING:
    from bnsbench.contract.hookspecs import hookimpl as hookimpl
    from bnsbench.contract.selectors import did_you_mean as did_you_mean
    from bnsbench.contract.selectors import parse_selector as parse_selector
    from bnsbench.contract.specs import Budgets as Budgets
    from bnsbench.contract.specs import ExecutorSpec as ExecutorSpec
    from bnsbench.contract.specs import ExporterSpec as ExporterSpec
    from bnsbench.contract.specs import MetricSpec as MetricSpec
    from bnsbench.contract.specs import ModelSpec as ModelSpec
    from bnsbench.contract.specs import PathSpec as PathSpec
    from bnsbench.contract.specs import ReportSpec as ReportSpec
    from bnsbench.contract.specs import Scalar as Scalar
    from bnsbench.contract.specs import SolverSpec as SolverSpec
    from bnsbench.contract.specs import SuiteSpec as SuiteSpec
    from bnsbench.errors import BnsbenchError as BnsbenchError
    from bnsbench.errors import CorruptFileError as CorruptFileError
    from bnsbench.errors import DivergedError as DivergedError
    from bnsbench.errors import NotApplicableError as NotApplicableError
    from bnsbench.errors import UsageError as UsageError
    from bnsbench.errors import one_line as one_line
    from bnsbench.export.writing import about_solver as about_solver
    from bnsbench.export.writing import filled_template as filled_template
    from bnsbench.flows.features import SampleFeatures as SampleFeatures
    from bnsbench.flows.fields import BatchField as BatchField
    from bnsbench.flows.fields import FunctionField as FunctionField
    from bnsbench.flows.fields import VelocityField as VelocityField
    from bnsbench.flows.judge import ConditionJudge as ConditionJudge
    from bnsbench.flows.model import Model as Model
    from bnsbench.flows.model import Reference as Reference
    from bnsbench.flows.model import check_details as check_details
    from bnsbench.flows.network_state import NetworkState as NetworkState
    from bnsbench.flows.network_state import adapters_of as adapters_of
    from bnsbench.flows.network_state import quantisation_of as quantisation_of
    from bnsbench.flows.predictions import Prediction as Prediction
    from bnsbench.flows.predictions import combine as combine
    from bnsbench.flows.predictions import data_coefficients as data_coefficients
    from bnsbench.flows.predictions import noise_coefficients as noise_coefficients
    from bnsbench.flows.predictions import to_data as to_data
    from bnsbench.flows.predictions import to_noise as to_noise
    from bnsbench.flows.predictions import to_velocity as to_velocity
    from bnsbench.flows.predictions import velocity_coefficients as velocity_coefficients
    from bnsbench.metrics.audio import SILENCE as SILENCE
    from bnsbench.metrics.audio import mono as mono
    from bnsbench.metrics.audio import sample_rate as sample_rate
    from bnsbench.metrics.base import MetricValue as MetricValue
    from bnsbench.metrics.base import SampleSet as SampleSet
    from bnsbench.metrics.base import finite as finite
    from bnsbench.metrics.contents import content_hash as content_hash
    from bnsbench.metrics.contents import joint_hash as joint_hash
    from bnsbench.metrics.degenerate import is_flat as is_flat
    from bnsbench.metrics.degenerate import require_variation as require_variation
    from bnsbench.metrics.distribution import FrechetAudioDistance as FrechetAudioDistance
    from bnsbench.metrics.distribution import FrechetDistance as FrechetDistance
    from bnsbench.metrics.extractors import Extractor as Extractor
    from bnsbench.metrics.extractors import to_uint8 as to_uint8
    from bnsbench.metrics.image import clamped_images as clamped_images
    from bnsbench.metrics.paired import PairedMetric as PairedMetric
    from bnsbench.metrics.paired import mean_of as mean_of
    from bnsbench.metrics.resampling import resamples as resamples
    from bnsbench.nonstationary.artefact import SolverArtefact as SolverArtefact
    from bnsbench.nonstationary.scope import Scope as Scope
    from bnsbench.nonstationary.scope import remark as remark
    from bnsbench.nonstationary.table import NonStationarySolver as NonStationarySolver
    from bnsbench.nonstationary.tracing import NotTraceableError as NotTraceableError
    from bnsbench.nonstationary.tracing import trace as trace
    from bnsbench.process.machine import cache_folder as cache_folder
    from bnsbench.process.random_states import seeded_random_states as seeded_random_states
    from bnsbench.solvers.grids import time_grid as time_grid
    from bnsbench.solvers.students import Student as Student
    from bnsbench.statistics import mean_interval as mean_interval
    from bnsbench.storage.files import replacing as replacing
    from bnsbench.suite.cells import run_cell as run_cell
    from bnsbench.suite.context import Job as Job
    from bnsbench.suite.elsewhere import Ledger as Ledger
    from bnsbench.suite.elsewhere import Message as Message
    from bnsbench.suite.elsewhere import deal as deal
    from bnsbench.suite.elsewhere import run_and_tell as run_and_tell
    from bnsbench.suite.executors import Executor as Executor
    from bnsbench.suite.executors import LocalExecutor as LocalExecutor
    from bnsbench.suite.mailbox import Mailbox as Mailbox
    from bnsbench.suite.plan import Cell as Cell
    from bnsbench.suite.progress import RunListener as RunListener
    from bnsbench.suite.record import Record as Record
    from bnsbench.training.problem import Problem as Problem
    from bnsbench.truth.ground_truth import solve as solve
    from bnsbench.truth.psnr import psnr_per_sample as psnr_per_sample

GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "The contract: what marks a hook, and the records that hooks yield.": {
        "bnsbench.contract.hookspecs": ("hookimpl",),
        "bnsbench.contract.specs": (
            "ModelSpec",
            "SolverSpec",
            "Budgets",
            "MetricSpec",
            "SuiteSpec",
            "ExecutorSpec",
            "ReportSpec",
            "ExporterSpec",
            "PathSpec",
            "Scalar",
        ),
    },
    "Errors: what a user can mend, what does not apply, what diverged; and the message of any error on one line.": {
        "bnsbench.errors": (
            "BnsbenchError",
            "UsageError",
            "NotApplicableError",
            "DivergedError",
            "CorruptFileError",
            "one_line",
        ),
    },
    "Selectors: name[parameter=value] taken apart, and the end of a message that proposes what was meant.": {
        "bnsbench.contract.selectors": ("parse_selector", "did_you_mean"),
    },
    "Models: the base class, its real data, and what it may bring besides; paths are in bnsbench.paths.": {
        "bnsbench.flows.model": ("Model", "Reference", "check_details"),
        "bnsbench.flows.features": ("SampleFeatures",),
        "bnsbench.flows.judge": ("ConditionJudge",),
    },
    "Velocity fields: what solvers are given, and one made of a plain function.": {
        "bnsbench.flows.fields": ("VelocityField", "BatchField", "FunctionField"),
    },
    "Predictions: from what networks predict to velocities, and from velocities to data and noise.": {
        "bnsbench.flows.predictions": (
            "Prediction",
            "velocity_coefficients",
            "data_coefficients",
            "noise_coefficients",
            "to_velocity",
            "to_data",
            "to_noise",
            "combine",
        ),
    },
    "Solvers: time grids, tables, samplers traced into tables, trained ones, students, and the exact solution of an ODE.": {
        "bnsbench.solvers.grids": ("time_grid",),
        "bnsbench.nonstationary.table": ("NonStationarySolver",),
        "bnsbench.nonstationary.tracing": ("trace", "NotTraceableError"),
        "bnsbench.nonstationary.artefact": ("SolverArtefact",),
        "bnsbench.training.problem": ("Problem",),
        "bnsbench.solvers.students": ("Student",),
        "bnsbench.truth.ground_truth": ("solve",),
    },
    "Scopes: what a network is besides its weights, where a table was trained, and what differs where it is used.": {
        "bnsbench.flows.network_state": ("NetworkState", "quantisation_of", "adapters_of"),
        "bnsbench.nonstationary.scope": ("Scope", "remark"),
    },
    "Exporters: what a file says of its solver, and a Python module with a solver's numbers.": {
        "bnsbench.export.writing": ("about_solver", "filled_template"),
    },
    "Metrics: what they are given and return, means over samples, intervals, and what samples without content are.": {
        "bnsbench.metrics.base": ("SampleSet", "MetricValue", "finite"),
        "bnsbench.metrics.paired": ("PairedMetric", "mean_of"),
        "bnsbench.statistics": ("mean_interval",),
        "bnsbench.metrics.resampling": ("resamples",),
        "bnsbench.metrics.degenerate": ("is_flat", "require_variation"),
    },
    "Distances of distributions: Frechet distances and the networks whose features they compare.": {
        "bnsbench.metrics.distribution": ("FrechetDistance", "FrechetAudioDistance"),
        "bnsbench.metrics.extractors": ("Extractor",),
    },
    "Images and sounds: decibels, and samples in the form that networks take.": {
        "bnsbench.truth.psnr": ("psnr_per_sample",),
        "bnsbench.metrics.image": ("clamped_images",),
        "bnsbench.metrics.extractors": ("to_uint8",),
        "bnsbench.metrics.audio": ("mono", "sample_rate", "SILENCE"),
    },
    "Files and random states: hashes of contents, the cache folder, files that appear whole, seeded global states.": {
        "bnsbench.metrics.contents": ("content_hash", "joint_hash"),
        "bnsbench.process.machine": ("cache_folder",),
        "bnsbench.storage.files": ("replacing",),
        "bnsbench.process.random_states": ("seeded_random_states",),
    },
    "Executors: the protocol, the one in this process, the function that runs one cell, what they are given and yield.": {
        "bnsbench.suite.executors": ("Executor", "LocalExecutor"),
        "bnsbench.suite.cells": ("run_cell",),
        "bnsbench.suite.plan": ("Cell",),
        "bnsbench.suite.context": ("Job",),
        "bnsbench.suite.progress": ("RunListener",),
        "bnsbench.suite.record": ("Record",),
    },
    "Clusters: cells dealt out and run on other machines, their messages, a ledger of lost ones, a folder for messages.": {
        "bnsbench.suite.elsewhere": ("deal", "run_and_tell", "Message", "Ledger"),
        "bnsbench.suite.mailbox": ("Mailbox",),
    },
}
"""By purpose what each name is imported from; a new one has its place here and, for type checkers, the same import above."""

_HOMES = {name: home for group in GROUPS.values() for home, names in group.items() for name in names}

__all__ = list(_HOMES)

if not TYPE_CHECKING:  # so that type checkers find misspelt names
    __getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted([*__all__, "GROUPS"])
