"""The parsers that are fuzzed: valid inputs of each, how they are mutated, and how they are read."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import random
import shutil
import sys
import wave
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.survival.mutations import VALUES, mutated, mutated_data

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "default"
PLUGIN = ROOT / "plugins" / "bnsbench-diffusers"

Mutate = Callable[[random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """A parser. count: inputs of a whole run. valid: inputs that it can read. read: takes the file of an input."""

    name: str
    count: int
    valid: Callable[[], list[bytes]]
    mutate: Mutate
    read: Callable[[Path], object]
    file: str = "input"


def _of_bytes(seeds: Callable[[], list[bytes]]) -> Mutate:
    return lambda draw: mutated(seeds(), draw)


def _of_data(seeds: Callable[[], list[bytes]], sealed: Callable[[Any], bytes], share: float = 0.5) -> Mutate:
    """Mutate bytes, or the values of JSON with whatever makes them valid again."""

    def mutate(draw: random.Random) -> bytes:
        if draw.random() > share:
            return mutated(seeds(), draw)
        return sealed(mutated_data(json.loads(draw.choice(seeds())), draw))

    return mutate


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@cache
def _files(pattern: str, most: int = 6) -> list[bytes]:
    found = sorted(RESULTS.glob(pattern), key=lambda file: (file.stat().st_size, file.name))
    assert found, pattern
    return [file.read_bytes() for file in found[:most]]


@cache
def _host() -> Any:
    from bnsbench.contract import PluginHost

    os.environ["BNSBENCH_PLUGINS"] = ""
    return PluginHost.load()


# Suites, selectors, numbers


def _suites() -> list[bytes]:
    small = b'name = "x"\nsamples = 40\nnfe = [2, 4]\nmetrics = ["psnr", "ssim"]\nsolvers = ["euler", "bns[pairs=32]"]\n'
    small += b'models = [{ name = "ring8", guidance = [0.0, 1.0], tolerance = 1e-5 }, "aniso5[path=edm]"]\ntimeout = 3.5\n'
    return [small, small.replace(b"models = [", b'dtype = "x"\nmodels = ['), *_files("suite.toml")]


def _read_suite(file: Path) -> None:
    from bnsbench.suite.plan import make_plan
    from bnsbench.suite.suitefile import read_suite

    suite = read_suite(file)
    cells = sum(len(e.guidance) * len(e.solvers or ()) * len(e.nfe or ()) for e in suite.full_entries())
    if cells < 500:
        make_plan(suite, _host())


SELECTORS = [
    *(
        b"euler",
        b"bns[pairs=32,seed=1]",
        b"bnsbench/dpm++2m[grid=logsnr:-5:5]",
        b"bns[init=unipc[order=3,grid=edm],pairs=3]",
    ),
    *(
        b'fid[data="a,b]",minimum=2]',
        b"ring8[path=vp]",
        b"euler,heun,ab2[grid=best]",
        b"digits-gmm[path=edm]",
        b"a[b='x''y']",
    ),
]


def _read_selectors(file: Path) -> None:
    from bnsbench.contract import split_selectors
    from bnsbench.errors import BnsbenchError

    text = file.read_bytes().decode("utf-8", "surrogateescape")
    for part in split_selectors(text)[:20]:
        for kind in ("solver", "model", "metric"):
            try:
                _ = getattr(_host(), kind)(part).name
            except BnsbenchError:
                continue


def _read_numbers(file: Path) -> None:
    from bnsbench.cli.run import _numbers
    from bnsbench.cli.train import _budgets
    from bnsbench.errors import BnsbenchError

    text = file.read_bytes().decode("utf-8", "surrogateescape")
    for read in (_budgets, lambda text: _numbers("--nfe", [text], int, "numbers", 1), _floats):
        try:
            read(text)
        except BnsbenchError:
            continue


def _floats(text: str) -> Any:
    from bnsbench.cli.run import _numbers

    return _numbers("--guidance", [text], float, "numbers", 0)


# Results: solver files, records, plans, sums


def _solvers() -> list[bytes]:
    return _files("solvers/*.json")


def _read_solver(file: Path) -> None:
    from bnsbench.errors import BnsbenchError
    from bnsbench.nonstationary.artefact import SolverArtefact, load_solver
    from bnsbench.storage.strict_json import read_json
    from bnsbench.suite.solver_files import table_fingerprint

    for read in (load_solver, lambda file: table_fingerprint(read_json(file)["solver"])):
        try:
            read(file)
        except (BnsbenchError, KeyError, TypeError):
            continue
    SolverArtefact.load(file)


def _records() -> list[bytes]:
    return _files("cells/*.json", 40)


def _sealed(content: Any) -> bytes:
    from bnsbench.suite.record import _checksum

    if not isinstance(content, dict):
        return _json(content)
    content.pop("checksum", None)
    try:
        return _json({**content, "checksum": _checksum(content)})
    except (ValueError, TypeError):
        return _json(content)


def _read_record(file: Path) -> None:
    from bnsbench.suite.record import read_record

    read_record(file)


def _read_table(file: Path) -> None:
    """Show and compare a folder of which one record is the input: it has to be a row, whatever it is."""
    from bnsbench.report.compare import compare
    from bnsbench.report.results import read_leaderboard
    from bnsbench.report.tables import csv, markdown
    from bnsbench.report.versions import settled_records
    from bnsbench.suite.store import ResultStore

    store = ResultStore(file.parents[1])
    whole = [json.loads(content) for content in _records()[:3]]
    keys = [file.stem, *(record["key"] for record in whole if record["key"] != file.stem)]
    store.plan_file.write_text(json.dumps({"schema": 1, "cells": keys}))
    for record, content in zip(whole, _records(), strict=False):
        if record["key"] != file.stem:
            store.record_file(record["key"]).write_bytes(content)
    frame = read_leaderboard(store)
    assert len(frame) == len(keys)
    csv(frame), markdown(frame)
    records, _ = settled_records(store)
    compare(records, records[1:] + records[:1])


def _read_plan(file: Path) -> None:
    from bnsbench.suite.store import ResultStore

    store = ResultStore(file.parent)
    store.versions()
    store.kept()
    for key in store.planned()[:50]:
        store.read(key)


def _plans() -> list[bytes]:
    versions = b'{"schema": 1, "cells": ["a-1", "b-2"], "versions": {"model x/y float32": "abc", "metric fid": "1"}}'
    return [*_files("plan.json"), versions]


def _read_sums(file: Path) -> None:
    from bnsbench.report.results import _unchanged, read_sums

    _unchanged(file.parent)
    read_sums(file.parent)


# Caches


@cache
def _truths() -> list[bytes]:
    import torch

    from bnsbench.storage.tensors import write_tensors

    file = Path(_scratch()) / "truth.safetensors"
    found = []
    for tensors in (
        {"x1": torch.ones(4, 2), "nfe": torch.tensor(7)},
        {"times": torch.linspace(0, 1, 3), "x": torch.ones(3, 4, 2), "u": torch.ones(3, 4, 2), "nfe": torch.tensor(7)},
        {"ceiling": torch.tensor(3.0)},
    ):
        write_tensors(file, tensors)
        found.append(file.read_bytes())
    return found


def _read_truth(file: Path) -> None:
    from bnsbench.storage.tensors import read_tensors

    read_tensors(file)


@cache
def _states() -> list[bytes]:
    import torch

    from bnsbench.training.optimisers.checkpoint import Checkpoint

    file = Path(_scratch()) / "state.pt"
    state = {"theta": torch.randn(5), "order": [3, 1], "done": 7, "selection": {"best": None, "idle": 0.5}}
    Checkpoint(file).save(state)
    plain = io.BytesIO()
    torch.save(state, plain)
    return [file.read_bytes(), plain.getvalue()]


def _mutated_state(draw: random.Random) -> bytes:
    """Mutate the file, or what torch wrote, with the digest of the result."""
    from bnsbench.storage.states import _BEGINNING, _digest

    if draw.random() < 0.5:
        return mutated(_states(), draw)
    content = mutated(_states()[1:], draw)
    return _BEGINNING + _digest(Path("state.pt"), content) + content


def _read_state(file: Path) -> None:
    from bnsbench.training.optimisers.checkpoint import Checkpoint

    Checkpoint(file).load()


# Data of metrics


@cache
def _archives() -> list[bytes]:
    found = []
    images = np.zeros((3, 4, 4, 3), np.uint8)
    odd: list[Mapping[str, Any]] = [
        {"arr_0": images},
        {"mu": np.zeros(8), "sigma": np.eye(8)},
        {"arr_0": images, "mu": np.zeros(8), "sigma": np.eye(8)},
        {"mu": np.array([None, 1], dtype=object), "sigma": np.eye(2)},
        {"mu": np.full(2, np.nan), "sigma": np.eye(2)},
        {"arr_0": images.astype(np.float32)},
        {"mu": np.array(["a", "b"]), "sigma": np.eye(2)},
    ]
    for save in (np.savez, np.savez_compressed):
        for arrays in odd:
            file = io.BytesIO()
            save(file, **arrays)
            found.append(_dateless(file))
    return found


def _dateless(file: io.BytesIO) -> bytes:
    """Return an archive whose entries have no time, so that it is the same whenever it is made."""
    made = io.BytesIO()
    with zipfile.ZipFile(file) as dated, zipfile.ZipFile(made, "w") as archive:
        for entry in dated.infolist():
            archive.writestr(zipfile.ZipInfo(entry.filename), dated.read(entry), entry.compress_type)
    return made.getvalue()


def _mutated_archive(draw: random.Random) -> bytes:
    """Mutate the file, or an array within it, whose checksum is then right."""
    if draw.random() < 0.4:
        return mutated(_archives(), draw)
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(draw.choice(_archives()))) as whole, zipfile.ZipFile(changed, "w") as archive:
        arrays = {name: whole.read(name) for name in whole.namelist()}
        victim = draw.choice(sorted(arrays))
        for name, content in arrays.items():
            archive.writestr(zipfile.ZipInfo(name), mutated([content], draw) if name == victim else content)
    return changed.getvalue()


def _read_archive(file: Path) -> None:
    from bnsbench.metrics.real_data import ImageArchive

    archive = ImageArchive(file, (3, 4, 4))
    _ = archive.statistics
    for _ in archive.batches(2):
        pass


@cache
def _images() -> list[bytes]:
    from PIL import Image

    found = []
    for mode in ("RGB", "L", "P", "RGBA", "1", "I;16"):
        for kind in ("PNG", "JPEG"):
            if kind == "PNG" or mode in ("RGB", "L"):
                file = io.BytesIO()
                Image.new(mode, (4, 4)).save(file, kind)
                found.append(file.getvalue())
    return found


def _folder(kind: str, name: str, content: bytes, beside: Path) -> Path:
    folder = beside.parent / kind
    folder.mkdir(exist_ok=True)
    for number in range(2):
        (folder / f"{number}{name}").write_bytes(content)
    return folder


def _read_image(file: Path) -> None:
    from bnsbench.metrics.real_data import ImageFolder

    ImageFolder(_folder("images", ".png", _images()[0], file), (3, 4, 4)).read(file)


@cache
def _sounds() -> list[bytes]:
    from scipy.io import wavfile

    found = []
    for numbers in (np.zeros(20, np.int16), np.zeros((20, 2), np.float32), np.zeros(20, np.int32), np.zeros(20, np.uint8)):
        file = io.BytesIO()
        wavfile.write(file, 8000, numbers)
        found.append(file.getvalue())
    file = io.BytesIO()
    with wave.open(file, "wb") as clip:
        clip.setparams((1, 3, 8000, 0, "NONE", ""))
        clip.writeframes(b"\x00" * 60)
    return [*found, file.getvalue()]


def _read_sound(file: Path) -> None:
    from bnsbench.metrics.real_data import SoundFolder

    SoundFolder(_folder("sounds", ".wav", _sounds()[0], file), (20, 8000)).read(file)


# Plugins


@cache
def _prompts() -> Callable[[str], tuple[str, ...]]:
    """Return the reader of prompts, without the package around it, which loads diffusers."""
    place = PLUGIN / "bnsbench_diffusers" / "models" / "prompts.py"
    spec = importlib.util.spec_from_file_location("prompts_alone", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    read: Callable[[str], tuple[str, ...]] = module.read_prompts
    return read


def _read_prompts(file: Path) -> None:
    for prompt in _prompts()(str(file)):
        assert "\n" not in prompt


SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "_diffusers_version": "0.35.0",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}


def _schedulers() -> list[bytes]:
    kinds = ("DDIMScheduler", "EulerDiscreteScheduler", "UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler")
    return [_json({**SCHEDULER, "_class_name": kind}) for kind in kinds]


def _read_scheduler(file: Path) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path.insert(0, str(PLUGIN))
    from bnsbench_diffusers.schedulers.saved import scheduler_of

    sys.path.remove(str(PLUGIN))
    folder = file.parent / "pipeline" / "scheduler"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder / "scheduler_config.json")
    scheduler_of(folder.parent)


def _mutated_plugin(draw: random.Random) -> bytes:
    """Return the file of a plugin whose records hold odd values."""
    usual: dict[str, dict[str, Any]] = {
        "SolverSpec": {"name": "s", "target": ":s", "kind": "traced", "budgets": (1, 1), "parameters": {"a": 1}},
        "ModelSpec": {"name": "m", "target": ":m", "modality": "image", "parameters": {"a": "x"}},
        "MetricSpec": {"name": "q", "target": ":q", "direction": "lower", "unit": "dB", "parameters": {}},
        "SuiteSpec": {"name": "t", "file": "t.toml"},
    }
    hooks = {"SolverSpec": "solvers", "ModelSpec": "models", "MetricSpec": "metrics", "SuiteSpec": "suites"}
    lines = [
        "from bnsbench.contract.hookspecs import hookimpl",
        "from bnsbench.contract.specs import *",
        "from pathlib import Path",
    ]
    lines.append("from bnsbench.contract.specs import Budgets, MetricSpec, ModelSpec, SolverSpec, SuiteSpec")
    lines.append("nan, inf = float('nan'), float('inf')")
    for kind, fields in usual.items():
        odd = {**fields}
        for _ in range(draw.choice((0, 1, 1, 2))):
            odd[draw.choice([*fields, "summary", "version", "parameters", "reference", "order"])] = draw.choice(VALUES)
        words = ", ".join(f"{name}={_written(name, value)}" for name, value in odd.items())
        lines += ["@hookimpl", f"def bnsbench_{hooks[kind]}():", f"    yield {kind}({words})"]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _written(name: str, value: Any) -> str:
    if name == "budgets" and isinstance(value, tuple):
        return f"Budgets{value!r}"
    return f"Path({value!r})" if name == "file" and isinstance(value, str) and "\x00" not in value else ascii(value)


def _read_plugin(file: Path) -> None:
    from bnsbench.contract import PluginHost
    from bnsbench.errors import BnsbenchError

    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)  # for 10^400, which the file spells out
    try:
        host = PluginHost.load([file])
    finally:
        sys.set_int_max_str_digits(before)
    for kind, name in (("solver", "s"), ("model", "m"), ("metric", "q"), ("solver", "euler")):
        try:
            _ = getattr(host, kind)(f"{name}[a=2]" if name in "sm" else name).name
        except BnsbenchError:
            continue


@cache
def _scratch() -> str:
    import tempfile

    return tempfile.mkdtemp()


def _plain_plugin() -> list[bytes]:
    return [b"x = 3\n"]


def _texts(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode() for text in texts]


_BUDGETS = _texts("8", "4,8,16", "4-20", "0.5,2", "1e2")
_PROMPTS = _texts("a cat\r\n# no\n a dog\n", "é\u2028x")


def _sums() -> list[bytes]:
    return _files("SHA256SUMS")


TARGETS: Mapping[str, Target] = {
    target.name: target
    for target in (
        Target("suites", 12_000, _suites, _of_bytes(_suites), _read_suite, "suite.toml"),
        Target("selectors", 20_000, lambda: SELECTORS, _of_bytes(lambda: SELECTORS), _read_selectors),
        Target("numbers", 8_000, _BUDGETS, _of_bytes(_BUDGETS), _read_numbers),
        Target("solvers", 9_000, _solvers, _of_data(_solvers, _json), _read_solver, "solver.json"),
        Target("records", 9_000, _records, _of_data(_records, _sealed, 0.8), _read_record, "record.json"),
        Target("tables", 1_500, _records, _of_data(_records, _sealed, 0.9), _read_table, f"cells/{'x' * 9}-1.json"),
        Target("plans", 8_000, _plans, _of_data(_plans, _json), _read_plan, "plan.json"),
        Target("sums", 8_000, _sums, _of_bytes(_sums), _read_sums, "SHA256SUMS"),
        Target("truths", 6_000, _truths, _of_bytes(_truths), _read_truth, "truth.safetensors"),
        Target("states", 5_000, _states, _mutated_state, _read_state, "state.pt"),
        Target("archives", 6_000, _archives, _mutated_archive, _read_archive, "data.npz"),
        Target("images", 3_000, _images, _of_bytes(_images), _read_image, "x.png"),
        Target("sounds", 3_000, _sounds, _of_bytes(_sounds), _read_sound, "x.wav"),
        Target("prompts", 6_000, _PROMPTS, _of_bytes(_PROMPTS), _read_prompts),
        Target("schedulers", 2_000, _schedulers, _of_data(_schedulers, _json), _read_scheduler),
        Target("plugins", 2_000, _plain_plugin, _mutated_plugin, _read_plugin, "odd.py"),
    )
}
