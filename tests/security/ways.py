"""Ways to make a file run a program, each with what in bnsbench would read that file.

A way is called with an empty folder and a mark that its program would leave. It writes its files and has bnsbench read
them; whatever bnsbench says, one sentence or a result, the mark must not be there afterwards. `WAYS` has all by name.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bnsbench.contract import PluginHost
from bnsbench.errors import BnsbenchError
from bnsbench.nonstationary.artefact import SolverArtefact, load_solver
from bnsbench.storage.tensors import read_tensors
from bnsbench.suite.suitefile import read_suite
from bnsbench.training.optimisers.checkpoint import Checkpoint
from tests.metrics.shown import Shown
from tests.security import payloads
from tests.security.payloads import Evil, State

Way = Callable[[Path, Path], None]
WAYS: dict[str, Way] = {}


def way(name: str) -> Callable[[Way], Way]:
    """Keep a function among the ways."""

    def kept(function: Way) -> Way:
        WAYS[name] = function
        return function

    return kept


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Let bnsbench refuse in a sentence; any other error is one of the test."""
    with contextlib.suppress(BnsbenchError):
        yield


def command(folder: Path, *words: object) -> str:
    """Run a command in a folder, and return what it printed."""
    from bnsbench.cli import main

    out = io.StringIO()
    quiet = contextlib.redirect_stdout(out), contextlib.redirect_stderr(out)
    with contextlib.chdir(folder), quiet[0], quiet[1], contextlib.suppress(SystemExit):
        main([str(word) for word in words])
    assert "Unexpected" not in out.getvalue(), out.getvalue()
    return out.getvalue()


# Weights: the file of fid[weights=FILE], in everything that torch.load has ever read.


def weights_read(file: Path) -> None:
    from bnsbench.metrics.extractors import extractor_for

    for use in ("features", "logits"):
        with told():
            extractor_for(Shown((3, 32, 32)), (3, 32, 32), str(file), use)


def weights_of(content: Callable[[Path], bytes], name: str = "weights.pth") -> Way:
    def attack(folder: Path, mark: Path) -> None:
        file = folder / name
        file.write_bytes(content(mark))
        weights_read(file)

    return attack


def _ordered(mark: Path) -> OrderedDict[str, object]:
    return OrderedDict([("fc.weight", torch.zeros(2)), ("fc.bias", Evil(mark))])


class _TensorWithState(torch.Tensor):
    mark: str

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        return Evil(Path(self.mark)).__reduce__()


def _subclass(mark: Path) -> bytes:
    tensor = torch.zeros(2).as_subclass(_TensorWithState)
    tensor.mark = str(mark)
    return payloads.saved({"fc.weight": tensor})


def _nested_zip(member: str, content: Callable[[Path], bytes]) -> Callable[[Path], bytes]:
    def write(mark: Path) -> bytes:
        stream = io.BytesIO(payloads.saved({"fc.weight": torch.zeros(2)}))
        with zipfile.ZipFile(stream, "a") as archive:
            archive.writestr(f"archive/{member}", content(mark))
        return stream.getvalue()

    return write


def _replaced(member: str, content: Callable[[Path], bytes]) -> Callable[[Path], bytes]:
    def write(mark: Path) -> bytes:
        file = mark.parent / "replaced.pth"
        file.write_bytes(payloads.saved({"fc.weight": torch.zeros(2)}))
        payloads.rewritten(file, {member: content(mark)})
        return file.read_bytes()

    return write


def _tar(mark: Path) -> bytes:
    """The oldest format of torch.save: a tar archive of pickles."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = payloads.global_pickle(mark)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def _script(mark: Path) -> bytes:
    """What TorchScript writes: pickles beside code."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "attributes.pkl"):
            archive.writestr(f"script/{name}", payloads.global_pickle(mark))
        archive.writestr("script/code/__torch__.py", payloads.program(mark))
        archive.writestr("script/version", "3")
    return stream.getvalue()


def _package(mark: Path) -> bytes:
    """What torch.package writes: Python modules and a pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("pack/model/model.pkl", payloads.stack_pickle(mark))
        archive.writestr("pack/evil/__init__.py", payloads.program(mark))
        archive.writestr("pack/.data/extern_modules", "os\nposix\n")
        archive.writestr("pack/.data/python_version", "3.11")
    return stream.getvalue()


def _header(mark: Path) -> bytes:
    """A safetensors file whose header holds a pickle among its texts."""
    text = json.dumps({"__metadata__": {"sha256": payloads.global_pickle(mark).decode(), "__reduce__": "posix.mkdir"}})
    return len(text).to_bytes(8, "little") + text.encode()


WEIGHTS: dict[str, Callable[[Path], bytes]] = {
    "a pickle of protocol 0": payloads.global_pickle,
    "a pickle of protocol 2": payloads.pickled,
    "a pickle of protocol 5": partial(payloads.pickled, protocol=5),
    "a pickle that names its function on the stack": payloads.stack_pickle,
    "a pickle with INST": payloads.inst_pickle,
    "a pickle by attributes of torch's own functions": payloads.built_pickle,
    "torch.save of an object": lambda mark: payloads.saved({"x": Evil(mark)}),
    "torch.save of an expression": lambda mark: payloads.saved({"x": State(mark)}),
    "torch.save in an OrderedDict": lambda mark: payloads.saved(_ordered(mark)),
    "torch.save of a subclass of tensors": _subclass,
    "torch.save of long ago": lambda mark: payloads.saved({"x": Evil(mark)}, legacy=True),
    "the tar format": _tar,
    "TorchScript": _script,
    "torch.package": _package,
    "a pickle beside data.pkl": _nested_zip("constants.pkl", payloads.global_pickle),
    "a pickle in place of data.pkl": _replaced("data.pkl", payloads.global_pickle),
    "a pickle in place of byteorder": _replaced("byteorder", payloads.stack_pickle),
    "a pickle in place of version": _replaced("version", payloads.global_pickle),
    "a pickle in place of a storage": _replaced("data/0", payloads.stack_pickle),
    "a safetensors header": _header,
}
for _name, _content in WEIGHTS.items():
    WAYS[f"weights: {_name}"] = weights_of(_content)
WAYS["weights: a pickle named .safetensors"] = weights_of(payloads.pickled, "weights.safetensors")


@way("weights: a suite that is run")
def _weights_of_a_suite(folder: Path, mark: Path) -> None:
    (folder / "weights.pth").write_bytes(payloads.saved({"x": Evil(mark)}))
    suite = 'nfe = [1]\nsamples = 2\nsolvers = ["euler"]\nmetrics = ["fid[weights=weights.pth,minimum=2]"]\n'
    (folder / "s.toml").write_text(f'{suite}[[models]]\nname = "textures"\ntolerance = 1e-2\n')
    assert "does not hold Inception-v3's weights" in command(folder, "run", "s.toml", "--executor", "local")


# Exported networks: programs, which nobody has allowed here.


def network_read(file: Path) -> None:
    for name in ("fad", "fad-gt"):
        with told():
            PluginHost.load().metric(f"{name}[network={file},minimum=2]").make()


def network_of(change: Callable[[Path, Path], None]) -> Way:
    def attack(folder: Path, mark: Path) -> None:
        file = payloads.exported(folder / "network.pt2")
        change(file, mark)
        network_read(file)

    return attack


def _pickled_weight(file: Path, mark: Path, kind: str = "weights") -> None:
    place = f"data/{kind}/"
    names = [name for name in payloads.members(file) if place in name]
    config = next(name for name in names if name.endswith("config.json"))
    with zipfile.ZipFile(file) as archive:
        entries = json.loads(archive.read(config))
    for entry in entries["config"].values():
        entry["use_pickle"] = True
    content = dict.fromkeys((name for name in names if name != config), payloads.saved(Evil(mark)))
    payloads.rewritten(file, {**content, config: json.dumps(entries).encode()})


def _samples(file: Path, mark: Path) -> None:
    payloads.rewritten(file, {"sample_inputs/model.pt": payloads.saved(Evil(mark))})


def _library(file: Path, mark: Path) -> None:
    payloads.rewritten(file, {"data/aotinductor/model/model.so": b"\x7fELF", "data/aotinductor/model/wrapper.py": b"x"})
    payloads.rewritten(file, {"extra/evil.py": payloads.program(mark).encode()})


NETWORKS: dict[str, Callable[[Path, Path], None]] = {
    "pickled sample inputs": _samples,
    "a symbolic expression": payloads.with_expression,
    "a pickled weight": _pickled_weight,
    "a pickled constant": partial(_pickled_weight, kind="constants"),
    "a compiled library": _library,
}
for _name, _change in NETWORKS.items():
    WAYS[f"network: {_name}"] = network_of(_change)


@way("network: a plain pickle")
def _network_pickle(folder: Path, mark: Path) -> None:
    (folder / "network.pt2").write_bytes(payloads.pickled(mark))
    network_read(folder / "network.pt2")


@way("network: TorchScript")
def _network_script(folder: Path, mark: Path) -> None:
    (folder / "network.pt2").write_bytes(_script(mark))
    network_read(folder / "network.pt2")


@way("network: a suite that is run")
def _network_of_a_suite(folder: Path, mark: Path) -> None:
    _samples(payloads.exported(folder / "network.pt2"), mark)
    suite = 'nfe = [1]\nsamples = 2\nsolvers = ["euler"]\nmetrics = ["fad[network=network.pt2,minimum=2]"]\n'
    (folder / "s.toml").write_text(f'{suite}allow_program = ["network.pt2"]\n[[models]]\nname = "speech"\n')
    assert "no such key" in command(folder, "run", "s.toml")
    (folder / "s.toml").write_text(f'{suite}[[models]]\nname = "speech"\n')
    assert "--allow-program" in command(folder, "run", "s.toml")


# Results, and what lies beside them.


def results(folder: Path, metric: str = "psnr", model: str = "ring8") -> Path:
    """Write results of one cell into the folder s, with a suite that names the metric."""
    suite = 'nfe = [1]\nsamples = 2\nsolvers = ["euler"]\n'
    (folder / "s.toml").write_text(f'{suite}metrics = ["psnr"]\n[[models]]\nname = "{model}"\ntolerance = 1e-2\n')
    command(folder, "run", "s.toml", "--results", ".", "--executor", "local", "--quiet")
    if metric != "psnr":
        from bnsbench.report.results import SUMS, sums

        file = folder / "s" / "suite.toml"
        file.write_text(file.read_text().replace('"psnr"', f'"psnr", "{metric}"'))
        (folder / "s" / SUMS).write_text(sums(folder / "s"))
    return folder / "s"


def local_files(places: list[Path], mark: Path) -> None:
    for place in places:
        (place / "bnsbench_local.py").write_text(payloads.program(mark))


def beside_results(*words: str) -> Way:
    """Return a way by which a command that reads results would run a plugin that lies in them or where one is."""

    def attack(folder: Path, mark: Path) -> None:
        store = results(folder)
        local_files([folder, store, store / "cells"], mark)
        for place, target in ((folder, "s"), (store, ".")):
            command(place, words[0], *([target] * (2 if words[0] == "compare" else 1)), *words[1:])

    return attack


for _words in (
    ["leaderboard"],
    ["leaderboard", "--format", "markdown"],
    ["compare"],
    ["verify", "--cells", "0"],
    ["verify"],
):
    WAYS[f"a local plugin: {' '.join(_words)}"] = beside_results(*_words)


@way("a local plugin: completion")
def _completion(folder: Path, mark: Path) -> None:
    from bnsbench.cli.completion import complete_components

    local_files([folder], mark)
    with contextlib.chdir(folder):
        assert complete_components("eul") == ["euler"]


@way("results that name weights: verify")
def _weights_of_results(folder: Path, mark: Path) -> None:
    (folder / "weights.pth").write_bytes(payloads.saved({"x": Evil(mark)}))
    results(folder, "fid[weights=weights.pth,minimum=2]", "textures")
    assert "--allow-file" in command(folder, "verify", "s", "--cells", "1")
    command(folder, "verify", "s", "--cells", "1", "--allow-file", "weights.pth")


@way("results that name a network: verify")
def _network_of_results(folder: Path, mark: Path) -> None:
    _samples(payloads.exported(folder / "network.pt2"), mark)
    results(folder, "fad[network=network.pt2,minimum=2]")
    assert "--allow-file" in command(folder, "verify", "s", "--cells", "1")
    command(folder, "verify", "s", "--cells", "1", "--allow-file", "network.pt2")


@way("results whose texts are code: leaderboard and verify")
def _texts_of_results(folder: Path, mark: Path) -> None:
    store = results(folder)
    code = f"__import__('os').mkdir({str(mark)!r})"
    for name, text in (
        (
            "plan.json",
            json.dumps({"schema": 1, "cells": [code, f"$(mkdir {mark})", f"!!python/object/apply:os.mkdir [{mark}]"]}),
        ),
        ("SHA256SUMS", f"{'0' * 64}  $(mkdir {mark})\n"),
        ("environment.json", json.dumps({"py/object": "os.mkdir", "code": code})),
    ):
        (store / name).write_text(text)
        for words in (("leaderboard", "s"), ("verify", "s", "--cells", "0"), ("compare", "s", "s")):
            command(folder, *words)


# Pictures, sounds and arrays of real samples.


def picture_of(content: Callable[[Path], bytes], name: str) -> Way:
    def attack(folder: Path, mark: Path) -> None:
        from bnsbench.metrics.real_data import open_images

        bin_folder = folder / "bin"
        bin_folder.mkdir()
        for helper in ("gs", "gswin64c", "gswin32c"):
            (bin_folder / helper).write_text(f"#!/bin/sh\nmkdir '{mark}'\n")
            (bin_folder / helper).chmod(0o755)
        (folder / "data").mkdir()
        for number in range(2):
            (folder / "data" / f"{number}{name}").write_bytes(content(mark))
        with first_on_path(bin_folder), told():
            for _ in open_images(str(folder / "data"), (3, 8, 8)).batches(2):
                pass

    return attack


@contextlib.contextmanager
def first_on_path(folder: Path) -> Iterator[None]:
    """Let programs be looked for in a folder first, as Pillow looks for Ghostscript."""
    import os

    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def drawn(form: str) -> Callable[[Path], bytes]:
    """Return an image in another format of Pillow's."""

    def write(mark: Path) -> bytes:
        del mark
        stream = io.BytesIO()
        Image.new("RGB", (8, 8)).save(stream, form)
        return stream.getvalue()

    return write


WAYS["picture: PostScript named .png"] = picture_of(lambda _: POSTSCRIPT, ".png")
WAYS["picture: PostScript named .jpg"] = picture_of(lambda _: POSTSCRIPT, ".JPG")
WAYS["picture: a pickle named .png"] = picture_of(payloads.pickled, ".png")
WAYS["picture: PDF named .png"] = picture_of(drawn("PDF"), ".png")


def arrays_of(write: Callable[[Path, Path], None]) -> Way:
    def attack(folder: Path, mark: Path) -> None:
        from bnsbench.metrics.real_data import ImageArchive

        write(folder / "real.npz", mark)
        with told():
            found = ImageArchive(folder / "real.npz", (3, 8, 8))
            _ = found.statistics
            list(found.batches(2))

    return attack


def _objects(*names: str) -> Callable[[Path, Path], None]:
    def write(file: Path, mark: Path) -> None:
        hostile = np.array([Evil(mark), None], dtype=object)
        sound = {"mu": np.zeros(2), "sigma": np.eye(2)}
        np.savez(file, allow_pickle=True, **{**sound, **dict.fromkeys(names, hostile)})

    return write


WAYS["arrays: objects in arr_0"] = arrays_of(_objects("arr_0"))
WAYS["arrays: objects in mu and sigma"] = arrays_of(_objects("mu", "sigma"))
WAYS["arrays: a pickle named .npz"] = arrays_of(lambda file, mark: void(file.write_bytes(payloads.pickled(mark))))
WAYS["arrays: pickles for members"] = arrays_of(
    lambda file, mark: payloads.write_zip(file, dict.fromkeys(("arr_0.npy", "mu.npy", "sigma.npy"), payloads.pickled(mark)))
)
WAYS["arrays: a header of code"] = arrays_of(
    lambda file, mark: payloads.write_zip(file, {"arr_0.npy": _npy_header(f"__import__('os').mkdir({str(mark)!r})")})
)


def void(_: object) -> None:
    """Make a statement of an expression."""


def _npy_header(text: str) -> bytes:
    line = (text + "\n").encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line


@way("sound: a pickle named .wav")
def _sound(folder: Path, mark: Path) -> None:
    from bnsbench.metrics.real_data import SoundFolder

    for number, content in enumerate((payloads.pickled(mark), b"RIFF\xff\xff\xff\x7fWAVE" + payloads.pickled(mark))):
        (folder / f"{number}.wav").write_bytes(content)
    with told():
        list(SoundFolder(folder, (8, 16_000)).batches(1))


# Files of bnsbench's own.


def reads(name: str, read: Callable[[Path], object]) -> None:
    """Keep a way for each content by which a file of bnsbench's own might run something."""
    contents: dict[str, Callable[[Path], bytes]] = {
        "a pickle": payloads.pickled,
        "torch.save": lambda mark: payloads.saved({"x": Evil(mark)}),
        "code": lambda mark: payloads.program(mark).encode(),
        "JSON that other readers take for objects": lambda mark: json.dumps(
            {"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(mark)]}], "schema": 3, "__class__": "os.mkdir"}
        ).encode(),
    }
    for content, write in contents.items():

        def attack(folder: Path, mark: Path, write: Callable[[Path], bytes] = write) -> None:
            (folder / "file").write_bytes(write(mark))
            with told():
                read(folder / "file")

        WAYS[f"{name}: {content}"] = attack


def _checkpoint(file: Path) -> None:
    Checkpoint(file).load()


reads("a solver file", SolverArtefact.load)
reads("a table", load_solver)
reads("tensors of ground truth", read_tensors)
reads("a suite", read_suite)
reads("a training state", _checkpoint)


@way("a training state: its own form around an object")
def _own_checkpoint(folder: Path, mark: Path) -> None:
    file = folder / "state"
    torch.save({"state": {"x": Evil(mark)}}, file)
    _checkpoint(file)


@way("a suite: names that are code")
def _suite_names(folder: Path, mark: Path) -> None:
    code = f"__import__('os').mkdir('{mark}')"
    for name in (code, f"$(mkdir {mark})", f"euler[grid={code}]", f"bns[init={code}]", f"../../{mark}", f"builtin/{code}"):
        (folder / "s.toml").write_text(
            f"nfe = [4]\nsamples = 2\nsolvers = [{json.dumps(name)}]\n[[models]]\nname = {json.dumps('ring8')}\n"
        )
        command(folder, "run", "s.toml", "--dry-run")


@way("a matplotlibrc that asks for LaTeX")
def _matplotlibrc(folder: Path, mark: Path) -> None:
    from matplotlib import rc_context, rc_params_from_file

    helpers = folder / "bin"
    helpers.mkdir()
    for helper in ("latex", "dvipng", "xelatex", "pdflatex", "kpsewhich"):
        (helpers / helper).write_text(f"#!/bin/sh\nmkdir -p '{mark}'\nexit 1\n")
        (helpers / helper).chmod(0o755)
    (folder / "matplotlibrc").write_text("text.usetex: True\n")
    # matplotlib reads the file when it is imported, which it has been.
    found = rc_params_from_file(folder / "matplotlibrc", use_default_template=False)
    with first_on_path(helpers), rc_context(found):
        results(folder)
