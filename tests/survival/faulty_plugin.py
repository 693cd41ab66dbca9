"""A plugin of faulty components, one for every fault and place, beside sound ones that they must not change."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from bnsbench.plugin import MetricSpec, ModelSpec, SolverSpec, hookimpl

HERE = Path(__file__).parent


def _actions():
    """Return the module of actions, which loads torch, under one name in every process."""
    name = "bnsbench_survival_actions"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / "faulty_actions.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def act(fault):
    _actions().act(fault)


class _Finder:
    """Finds modules whose import does what their names say."""

    prefix = "bnsbench_survival_import_"

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, cls) if name.startswith(cls.prefix) else None

    @staticmethod
    def create_module(spec):
        return None

    @classmethod
    def exec_module(cls, module):
        act(module.__name__.removeprefix(cls.prefix).replace("_", "-"))
        module.solver, module.metric, module.model, module.trainer = solver, width, sound, trainer


if not any(isinstance(each, type) and each.__name__ == "_Finder" for each in sys.meta_path):
    sys.meta_path.insert(0, _Finder)


@hookimpl
def bnsbench_models():
    yield ModelSpec("calm", ":sound", modality="points")
    yield ModelSpec("measured", ":sound", modality="points")
    yield ModelSpec("last", ":sound", modality="points")
    yield from (ModelSpec(f"alone-{k}", ":sound", modality="points") for k in range(16))
    yield from (ModelSpec(f"m-{place}-{fault}", target, modality="points") for place, fault, target in _targets("model"))


@hookimpl
def bnsbench_solvers():
    for name in ("steady", "steadier"):
        yield SolverSpec(name, ":solver", kind="direct")
    yield SolverSpec("learned", ":trainer", kind="trained")
    for place, fault, target in _targets("solver"):
        yield SolverSpec(f"s-{place}-{fault}", target, kind="direct")
    for place, fault, target in _targets("trainer"):
        yield SolverSpec(f"t-{place}-{fault}", target, kind="trained")


@hookimpl
def bnsbench_metrics():
    yield MetricSpec("width", ":width")
    yield from (MetricSpec(f"q-{place}-{fault}", target) for place, fault, target in _targets("metric"))


def _targets(kind):
    """Yield every place and fault of a kind of component, with its target."""
    for place, faults in CATALOGUE[kind].items():
        for fault in faults:
            own = f"bnsbench_survival_import_{fault.replace('-', '_')}:{kind}"
            yield place, fault, own if place == "import" else f":{kind}_{place}_{fault.replace('-', '_')}"


_FINISHED = []


@hookimpl
def bnsbench_cell_finished(record):
    """Do one thing after the other, a cell each."""
    faults = [*CATALOGUE["observer"]["call"]]
    _FINISHED.append(record["key"])
    record["status"] = "spoilt"
    if len(_FINISHED) <= len(faults):
        act(faults[len(_FINISHED) - 1])


# Sound components.

MADE = []


def sound():
    """A model whose data are N(centre, I / 4), with its weights in a network."""
    import torch

    from bnsbench import Model
    from bnsbench.paths import CondOT

    class Ball(Model):
        path = CondOT()
        shape = (2,)
        prediction = "x"
        interval = (0.0, 1.0 - 1e-3)
        dtype = torch.float64

        def __init__(self):
            self.network = torch.nn.Linear(1, 2, bias=False, dtype=torch.float64).requires_grad_(False)
            self.network.weight.copy_(torch.tensor([[0.5], [-0.25]]))

        def predict(self, t, x, condition):
            centre = self.network.weight[:, 0].to(x)
            alpha, sigma = (c.to(x).reshape(-1, 1) for c in (self.path.alpha(t), self.path.sigma(t)))
            return centre + alpha / (alpha**2 + 4.0 * sigma**2) * (x - alpha * centre)

        def fingerprint(self):
            return hashlib.sha256(b"ball").hexdigest()

    MADE.append(Ball())
    return MADE[-1]


def solver(field, x0, nfe):
    """Euler's method."""
    begin, end = field.interval
    x = x0
    for k in range(nfe):
        x = x + (end - begin) / nfe * field(x.new_tensor(begin + (end - begin) * k / nfe), x)
    return x


def width():
    from bnsbench.plugin import MetricValue

    return lambda samples: MetricValue(float(samples.latents.std()), details={"n": float(len(samples))})


def trainer(problem, nfe):
    """Euler's table, a little longer."""
    import torch

    from bnsbench import NonStationarySolver, SolverArtefact

    source = problem.source
    begin, end = source.model.interval
    b = torch.full((nfe, nfe), 1.01 * (end - begin) / nfe, dtype=torch.float64).tril()
    table = NonStationarySolver(torch.linspace(begin, end, nfe + 1, dtype=torch.float64), torch.ones(nfe), b)
    return SolverArtefact(
        solver=table,
        path=source.model.path,
        interval=source.model.interval,
        model=source.name,
        fingerprint=source.model.fingerprint(),
        guidance=source.guidance,
        name="learned",
        training={"forwards": {"training": 8}, "seconds": 0.5, "psnr": 20.0},
    )


# Faulty ones: they do their work, and the fault with it.


def _solver_call(fault, field, x0, nfe):
    x = solver(field, x0, nfe)
    if len(x0) < 16:  # the last batch, since what it does would be in its own way in the next one
        act(fault)
    return x


def _solver_return(fault, field, x0, nfe):
    x = solver(field, x0, nfe)
    found = {**_actions().tensors(x), "single": x.float(), "not-finite": x / 0 * 0}
    return found[fault]


def _solver_write(fault, field, x0, nfe):
    import torch

    network = MADE[-1].network
    x = solver(field, x0, nfe)
    if fault not in ("input", "one-buffer") and len(x0) == 16:
        return x  # in the last batch alone, so that nothing undoes itself
    if fault == "weights":
        network.weight.data.mul_(0.5)
    elif fault == "replaced-weights":
        network.weight = torch.nn.Parameter(network.weight * 0.5, requires_grad=False)
    elif fault == "training-mode":
        network.train(not network.training)
    elif fault == "hook":
        network.register_forward_hook(lambda *_: None)
    elif fault == "data-range":
        MADE[-1].data_range = 100.0
    elif fault == "decoder":
        MADE[-1].decode = lambda x: 0 * x
    elif fault == "input":
        x0.zero_()
    elif fault == "one-buffer":
        if not BUFFER or BUFFER[0].shape != x.shape:
            BUFFER[:] = [torch.empty_like(x)]
        return BUFFER[0].copy_(x)
    return x


BUFFER = []


def _trainer_call(fault, problem, nfe):
    found = trainer(problem, nfe)
    act(fault)
    return found


def _trainer_write(fault, problem, nfe):
    problem.source.model.network.weight.data.mul_(0.5)
    return trainer(problem, nfe)


def _trainer_report(fault, problem, nfe):
    from bnsbench.plugin import TrainingStatus

    status = TrainingStatus(nfe, "work", 1, 2, 20.0)
    wrong = {"text": "half way", "number": replace(status, psnr="high"), "none": None, "stage": replace(status, stage=None)}
    problem.report(wrong[fault])
    return trainer(problem, nfe)


def _trainer_return(fault, problem, nfe):
    import torch

    from bnsbench import NonStationarySolver

    found = trainer(problem, nfe)
    table, nested = found.solver, []
    for _ in range(100_000):
        nested = [nested]
    rows = torch.full((nfe, nfe + 1), torch.nan, dtype=torch.float64)
    results = {
        "none": None,
        "text": "table",
        "table": table,
        "no-table": replace_unchecked(found, solver="table"),
        "not-finite": replace_unchecked(found, solver=NonStationarySolver.from_rows(table.times, rows)),
        "other-nfe": trainer(problem, nfe + 1),
        "other-model": replace(found, fingerprint="other"),
        "other-guidance": replace(found, guidance=3.0),
        "other-interval": replace(found, interval=(0.0, 0.5)),
        "record-text": replace(found, training="done"),
        "record-none": replace(found, training=None),
        "record-nested": replace(found, training={"curve": nested}),
    }
    records = {
        "forwards-text": {"forwards": {"training": "many"}},
        "forwards-list": {"forwards": [1, 2]},
        "forwards-negative": {"forwards": {"training": -3}},
        "forwards-huge": {"forwards": {"training": 10**400}},
        "forwards-half": {"forwards": {"training": 0.5}},
        "forwards-complex": {"forwards": {"training": 1j}},
        "seconds-text": {"seconds": "long"},
        "seconds-nan": {"seconds": float("nan")},
        "psnr-list": {"psnr": [1.0]},
        "psnr-huge": {"psnr": 10**400},
        "grid-number": {"grid": 3},
    }
    return results[fault] if fault in results else replace(found, training=records[fault])


def replace_unchecked(thing, **changes):
    for name, value in changes.items():
        object.__setattr__(thing, name, value)
    return thing


def _metric_make(fault):
    act(fault)
    return width()


def _metric_call(fault):
    def metric(samples):
        value = width()(samples)
        act(fault)
        return value

    return metric


def _metric_fingerprint(fault):
    class Metric:
        def __call__(self, samples):
            return width()(samples)

        def fingerprint(self):
            act(fault)

    return Metric()


def _metric_return(fault):
    return lambda samples: _values(len(samples))[fault]


def _values(n):
    import numpy as np

    from bnsbench.plugin import MetricValue

    nan = float("nan")
    whole = [0.5] * n
    return {
        "none": None,
        "number": 3.5,
        "of-none": MetricValue(None),
        "of-text": MetricValue("3.5"),
        "of-list": MetricValue([3.5]),
        "of-dict": MetricValue({"value": 3.5}),
        "of-complex": MetricValue(3.5 + 1j),
        "of-huge": MetricValue(10**400),
        "of-truth": MetricValue(True),
        "of-array": MetricValue(np.ones(3)),
        "of-object": MetricValue(_actions().Plain()),
        "low-text": MetricValue(1.0, low="0"),
        "low-nan": MetricValue(1.0, low=nan, high=2.0),
        "high-infinite": MetricValue(1.0, low=0.0, high=float("inf")),
        "ends-turned": MetricValue(1.0, low=2.0, high=0.0),
        "details-list": MetricValue(1.0, details=[1.0]),
        "details-text": MetricValue(1.0, details={"n": "many"}),
        "details-nan": MetricValue(1.0, details={"n": nan}),
        "details-nested": MetricValue(1.0, details={"n": {"m": 1.0}}),
        "details-huge": MetricValue(1.0, details={"n": 10**400}),
        "details-number-names": MetricValue(1.0, details={3: 1.0}),
        "info-number": MetricValue(1.0, info={"of": 3}),
        "samples-text": MetricValue(1.0, per_sample="0.5" * n),
        "samples-texts": MetricValue(1.0, per_sample=["0.5"] * n),
        "samples-few": MetricValue(1.0, per_sample=whole[1:]),
        "samples-many": MetricValue(1.0, per_sample=[*whole, 0.5]),
        "samples-nan": MetricValue(1.0, per_sample=[*whole[1:], nan]),
        "samples-none": MetricValue(1.0, per_sample=[*whole[1:], None]),
        "samples-huge": MetricValue(1.0, per_sample=[*whole[1:], 10**400]),
        "samples-table": MetricValue(1.0, per_sample=np.ones((n, 2))),
        "samples-number": MetricValue(1.0, per_sample=0.5),
        "replicates-text": MetricValue(1.0, replicates=["a"]),
        "replicates-nan": MetricValue(1.0, replicates=[0.5, nan]),
        "replicates-number": MetricValue(1.0, replicates=7),
    }


def _metric_write(fault):
    def metric(samples):
        targets = {
            "latents": lambda: samples.latents,
            "truth-latents": lambda: samples.truth_latents,
            "samples": lambda: samples.samples,
            "truth": lambda: samples.truth,
            "weights": lambda: samples.model.network.weight.data,
        }
        if fault in targets:
            targets[fault]().mul_(0.5)
        elif fault == "past-the-version":
            samples.truth_latents.numpy()[:] = 0
        elif fault == "data-range":
            samples.model.data_range = 100.0
        elif fault == "training-mode":
            samples.model.network.train(not samples.model.network.training)
        else:
            samples.model.predict = lambda t, x, condition: 0 * x
        return width()(samples)

    return metric


def _model_make(fault):
    found = sound()
    act(fault)
    return found


def _model_return(fault):
    return {"none": None, "text": "model", "object": _actions().Plain(), "class": type(sound())}[fault]


def _changed(**attributes):
    """Return a sound model with other attributes on the instance."""
    found = sound()
    for name, value in attributes.items():
        setattr(found, name, value)
    return found


def _model_fact(fault):
    import torch

    given = {
        "shape-text": {"shape": "2"},
        "shape-empty": {"shape": ()},
        "shape-zero": {"shape": (0,)},
        "interval-turned": {"interval": (1.0, 0.0)},
        "interval-three": {"interval": (0.0, 0.5, 1.0)},
        "interval-text": {"interval": ("0", "1")},
        "range-nan": {"data_range": float("nan")},
        "range-text": {"data_range": "2"},
        "range-zero": {"data_range": 0.0},
        "dtype-whole": {"dtype": torch.int64},
        "dtype-text": {"dtype": "float32"},
        "path-none": {"path": None},
        "prediction-unknown": {"prediction": "nonsense"},
        "rate-negative": {"sample_rate": -1},
        "fingerprint-none": {"fingerprint": lambda: None},
        "fingerprint-number": {"fingerprint": lambda: 3},
        "forwards-text": {"forwards_per_evaluation": lambda guidance: "one"},
        "forwards-zero": {"forwards_per_evaluation": lambda guidance: 0},
        "forwards-half": {"forwards_per_evaluation": lambda guidance: 0.5},
        "conditions-text": {"conditions": lambda indices: "all"},
        "conditions-few": {"conditions": lambda indices: torch.zeros(3)},
        "moved-none": {"to": lambda device, dtype: None},
    }
    return _changed(**given[fault])


def _model_predict(fault):
    found = sound()
    predict = found.predict

    def faulty(t, x, condition):
        act(fault)
        return predict(t, x, condition)

    found.predict = faulty
    return found


def _model_predicts(fault):
    found = sound()
    predict = found.predict
    found.predict = lambda t, x, condition: _actions().tensors(predict(t, x, condition))[fault]
    return found


def _model_decodes(fault):
    return _changed(decode=lambda x: _actions().tensors(x)[fault])


NUMBERLESS = ("none", "text", "list", "tuple", "array", "number", "object", "whole-numbers", "truth-values", "complex")
MISSHAPEN = ("a-row-less", "flat", "a-number-less", "scalar", "meta", "sparse")
RAISES = (
    *("value-error", "base-exception", "system-exit", "system-exit-text", "interrupt", "generator-exit", "stop-iteration"),
    *("silent", "wordless", "sealed", "surrogate", "controls", "endless-text", "memory", "recursion", "disk-full"),
    *("like-the-disk", "group", "zero-division"),
)
SOME_RAISES = ("value-error", "base-exception", "system-exit", "interrupt", "silent", "surrogate", "disk-full")
EXITS = ("exit-0", "exit-7")
PRINTS = (
    *("print", "stdout", "buffer", "old-stdout", "descriptor", "c-library", "child", "thread", "close-1", "close-2"),
    *("close-0", "close-stdout", "close-old-stdout", "close-stderr", "no-stdout", "no-stderr", "to-null"),
)
CHANGES = (
    *("folder", "removed-folder", "no-environment", "environment", "umask", "double", "half", "meta-device", "low-limit"),
    *("ignore-interrupt", "ignore-alarm", "handle-term", "alarm", "block-signals", "warnings-as-errors", "threads"),
    *("gradients", "inference", "torch-seed", "numpy-seed", "python-seed", "deterministic", "denormals", "numpy-errors"),
    *("locale", "no-collection", "no-logging", "trace", "autocast", "anomalies", "excepthook", "leftover-thread", "fork"),
)
SOME_CHANGES = ("folder", "no-environment", "half", "meta-device", "low-limit", "numpy-errors")
SOME_PRINTS = ("print", "descriptor", "close-1")
HANGS = ("sleeps", "busy", "swallows-exceptions", "swallows-everything")

RECORDS = (
    *("forwards-text", "forwards-list", "forwards-negative", "forwards-huge", "forwards-half", "forwards-complex"),
    *("seconds-text", "seconds-nan", "psnr-list", "psnr-huge", "grid-number"),
)
TRAINED = (
    *("none", "text", "table", "no-table", "not-finite", "other-nfe", "other-model", "other-guidance", "other-interval"),
    *("record-text", "record-none", "record-nested", *RECORDS),
)
VALUES = (
    *("none", "number", "of-none", "of-text", "of-list", "of-dict", "of-complex", "of-huge", "of-truth", "of-array"),
    *("of-object", "low-text", "low-nan", "high-infinite", "ends-turned", "details-list", "details-text", "details-nan"),
    *("details-nested", "details-huge", "details-number-names", "info-number", "samples-text", "samples-texts"),
    *("samples-few", "samples-many", "samples-nan", "samples-none", "samples-huge", "samples-table", "samples-number"),
    *("replicates-text", "replicates-nan", "replicates-number"),
)
FACTS = (
    *("shape-text", "shape-empty", "shape-zero", "interval-turned", "interval-three", "interval-text", "range-nan"),
    *("range-text", "range-zero", "dtype-whole", "dtype-text", "path-none", "prediction-unknown", "rate-negative"),
    *("fingerprint-none", "fingerprint-number", "forwards-text", "forwards-zero", "forwards-half", "conditions-text"),
    *("conditions-few", "moved-none"),
)

CATALOGUE = {
    "solver": {
        "call": (*RAISES, *EXITS, *PRINTS, *CHANGES, *HANGS),
        "return": (*NUMBERLESS, *MISSHAPEN, "single", "not-finite"),
        "import": (*SOME_RAISES, *SOME_CHANGES, *SOME_PRINTS, "swallows-exceptions"),
        "write": (
            *("weights", "replaced-weights", "training-mode", "hook", "data-range", "decoder", "input", "one-buffer"),
        ),
    },
    "trainer": {
        "call": (*RAISES, *EXITS, *SOME_CHANGES, *SOME_PRINTS, "sleeps", "swallows-exceptions", "swallows-everything"),
        "return": TRAINED,
        "report": ("text", "number", "none", "stage"),
        "write": ("weights",),
        "import": SOME_RAISES,
    },
    "metric": {
        "make": (*RAISES, *EXITS, *SOME_CHANGES, *SOME_PRINTS, "sleeps", "swallows-everything"),
        "call": (*RAISES, *EXITS, *PRINTS, *SOME_CHANGES, "sleeps", "swallows-exceptions", "swallows-everything"),
        "fingerprint": SOME_RAISES,
        "return": VALUES,
        "import": (*SOME_RAISES, *SOME_CHANGES, *SOME_PRINTS),
        "write": (
            *("latents", "truth-latents", "samples", "truth", "weights", "past-the-version", "data-range"),
            *("training-mode", "prediction"),
        ),
    },
    "model": {
        "make": (*RAISES, *EXITS, *SOME_CHANGES, *SOME_PRINTS, "swallows-exceptions"),
        "return": ("none", "text", "object", "class"),
        "fact": FACTS,
        "predict": SOME_RAISES,
        "predicts": (*NUMBERLESS, *MISSHAPEN),
        "decodes": (*NUMBERLESS, "a-row-less", "scalar"),
        "import": SOME_RAISES,
    },
    "observer": {"call": (*(each for each in RAISES if each != "interrupt"), *EXITS, *PRINTS, *CHANGES)},
}
"""The faults by kind of component and place."""

_PLACES = {
    "solver": {"call": _solver_call, "return": _solver_return, "write": _solver_write},
    "trainer": {"call": _trainer_call, "return": _trainer_return, "report": _trainer_report, "write": _trainer_write},
    "metric": {
        "make": _metric_make,
        "call": _metric_call,
        "fingerprint": _metric_fingerprint,
        "return": _metric_return,
        "write": _metric_write,
    },
    "model": {
        "make": _model_make,
        "return": _model_return,
        "fact": _model_fact,
        "predict": _model_predict,
        "predicts": _model_predicts,
        "decodes": _model_decodes,
    },
}

for _kind, _places in _PLACES.items():
    for _place, _do in _places.items():
        for _fault in CATALOGUE[_kind][_place]:
            globals()[f"{_kind}_{_place}_{_fault.replace('-', '_')}"] = partial(_do, _fault)
