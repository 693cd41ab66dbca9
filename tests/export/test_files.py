"""Generated files: each is imported in a process without bnsbench, and makes what the engine makes."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path as FilePath
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import bnsbench
from bnsbench.errors import NotApplicableError, UsageError
from bnsbench.export.denoised import rows_in_data
from bnsbench.export.files import kdiffusion, odeint, plain_json, python
from bnsbench.export.sigmas import sigmas
from bnsbench.flows.fields import FunctionField
from bnsbench.flows.paths import EDM, VP, CondOT, Cosine, DiscreteVP, Path
from bnsbench.flows.predictions import to_data
from bnsbench.models.mixtures import Mixture, MixtureModel
from bnsbench.nonstationary.artefact import SolverArtefact
from bnsbench.nonstationary.table import NonStationarySolver

PATHS = [(CondOT(), (0.0, 1.0)), (VP(), (0.0, 0.999)), (DiscreteVP.linear(), (0.0, 1.0)), (EDM(0.01, 20), (0.0, 1.0))]
ALONE = """
import json, sys
sys.modules["bnsbench"] = None  # whoever imports it fails
sys.path.insert(0, sys.argv[1])
import torch
module = __import__(sys.argv[2])
def model(x, sigma, **more):
    return x / (1 + sigma[:, None] ** 2)
def velocity(t, x):
    return torch.sin(x) - t * x
x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)
found = module.sample(model, x * module.SIGMAS[0]) if hasattr(module, "SIGMAS") else module.sample(velocity, x)
print(json.dumps(found.tolist()))
"""


def artefact(path: Path, interval: tuple[float, float], solver: str = "dpm++2m", nfe: int = 5) -> SolverArtefact:
    table = bnsbench.solver(solver, nfe, path=path, interval=interval)
    return SolverArtefact(table, path, interval, "mine", "abc123", 2.0, "bns")


def loaded(file: FilePath) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exact(path: Path) -> MixtureModel:
    places = torch.tensor([[0.5, -0.5], [-0.7, 0.1]], dtype=torch.float64)
    widths = 0.3 * torch.eye(2).double().expand(2, -1, -1)
    return MixtureModel(Mixture(torch.tensor([0.5, 0.5], dtype=torch.float64), places, widths), path, (2,))


@pytest.mark.parametrize(("path", "interval"), PATHS, ids=lambda each: getattr(each, "name", ""))
def test_the_kdiffusion_sampler_is_the_table(path: Path, interval: tuple[float, float], tmp_path: FilePath) -> None:
    made = artefact(path, interval)
    module = loaded(kdiffusion(made, tmp_path))
    model = exact(path)
    flow = isinstance(path, CondOT)
    told: list[dict[str, Any]] = []

    def denoiser(y: Tensor, sigma: Tensor, scale: float) -> Tensor:
        """The model as k-diffusion sees it: states x / alpha (or x, for flows), and the noise in them."""
        t = 1 - sigma[0].double() if flow else path.time(-math.log(float(sigma[0])))
        x = y if flow else y * path.alpha(t)
        return to_data(path, t, x, model.predict(t, x, None)) * scale

    noise = torch.randn(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    begin, end = (float(path.alpha(t)) for t in interval)
    found = module.sample(denoiser, noise * module.SIGMAS[0], None, {"scale": 1.0}, told.append)
    x0 = noise * float(path.sigma(interval[0]))
    expected = made.solver(model.field(None), x0) / (1 if flow else end)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert [each["i"] for each in told] == list(range(5))
    assert module.SIGMAS[0] == pytest.approx(float(path.sigma(interval[0])) / (1 if flow else begin))
    assert made.solver.times[:-1].tolist() == module.TIMES
    steps = [999 * (1 - t) for t in module.TIMES] if isinstance(path, DiscreteVP) else None
    assert (None if steps is None else pytest.approx(steps, abs=1e-9)) == module.TIMESTEPS
    assert (module.NFE, module.GUIDANCE, module.FINGERPRINT, module.MODEL) == (5, 2.0, "abc123", "mine")


@pytest.mark.parametrize("time", ["0 to 1", "1 to 0"])
def test_the_odeint_file_is_the_table(time: Any, tmp_path: FilePath) -> None:
    made = artefact(CondOT(), (0.0, 1.0), "midpoint", 6)
    module = loaded(odeint(made, tmp_path, time))
    back = time == "1 to 0"

    def velocity(t: Tensor, x: Tensor) -> Tensor:
        return torch.sin(3 * x) - t * x

    def theirs(s: Tensor, x: Tensor) -> Tensor:
        return -velocity(1 - s, x) if back else velocity(s, x)

    x0 = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = made.solver(FunctionField(velocity, CondOT(), (0.0, 1.0)), x0)
    torch.testing.assert_close(module.sample(theirs, x0), expected, rtol=1e-12, atol=1e-12)
    ends = torch.tensor([1.0, 0.0] if back else [0.0, 1.0])
    found = module.odeint(theirs, x0, ends, method="dopri5", rtol=1e-5)
    torch.testing.assert_close(found, torch.stack([x0, expected]), rtol=1e-12, atol=1e-12)
    torchdiffeq = pytest.importorskip("torchdiffeq")
    module.register("bns-of-a-test")
    by_name = torchdiffeq.odeint(theirs, x0, ends.double(), method="bns-of-a-test")
    torch.testing.assert_close(by_name[-1], expected, rtol=1e-12, atol=1e-12)


WITHOUT_TORCH = """
import json, math, sys
sys.modules["bnsbench"] = sys.modules["torch"] = None  # whoever imports them fails
sys.path.insert(0, sys.argv[1])
import numpy
module = __import__(sys.argv[2])
assert "torch" not in str(module.__dict__.values())
x0 = [-1.0, -0.5, 0.25, 1.5]
sine = numpy.vectorize(math.sin)
floats = [module.sample(lambda t, x: math.sin(x) - t * x, x) for x in x0]
array = module.sample(lambda t, x: sine(x) - t * x, numpy.array(x0))
single = module.sample(lambda t, x: (sine(x) - t * x).astype("float32"), numpy.array(x0, "float32"))
print(json.dumps([floats, array.tolist(), single.tolist(), str(single.dtype)]))
"""


def test_the_python_file_needs_nothing(tmp_path: FilePath) -> None:
    made = artefact(CondOT(), (0.0, 1.0), "ab2", 5)
    file = python(made, tmp_path)
    assert not [line for line in file.read_text().splitlines() if line.startswith(("import", "from"))]
    command = [sys.executable, "-c", WITHOUT_TORCH, str(tmp_path), file.stem]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    floats, array, single, dtype = json.loads(done.stdout)
    x0 = torch.tensor([-1.0, -0.5, 0.25, 1.5], dtype=torch.float64)
    expected = made.solver(FunctionField(lambda t, x: torch.sin(x) - t * x, CondOT(), (0.0, 1.0)), x0[:, None])[:, 0]
    for found, tolerance in ((floats, 1e-12), (array, 1e-12), (single, 1e-6)):
        torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, rtol=tolerance, atol=tolerance)
    assert dtype == "float32"


@pytest.mark.parametrize(("path", "interval"), PATHS, ids=lambda each: getattr(each, "name", ""))
@pytest.mark.parametrize("time", ["0 to 1", "1 to 0"])
def test_the_python_file_is_the_table(time: Any, path: Path, interval: tuple[float, float], tmp_path: FilePath) -> None:
    made = artefact(path, interval)
    module = loaded(python(made, tmp_path, time))
    field, back = exact(path).field(None), time == "1 to 0"

    def theirs(s: float, x: Tensor) -> Tensor:
        u = field(torch.tensor(1 - s if back else s, dtype=torch.float64), x)
        return -u if back else u

    noise = torch.randn(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x0 = noise * path.sigma(interval[0])
    torch.testing.assert_close(module.sample(theirs, x0), made.solver(field, x0), rtol=1e-9, atol=1e-9)
    ends = [1 - interval[0], 1 - interval[1]] if back else interval
    assert all(found == pytest.approx(end) for found, end in zip(module.INTERVAL, ends, strict=True))
    assert (module.NFE, module.GUIDANCE, module.FINGERPRINT, module.MODEL) == (5, 2.0, "abc123", "mine")
    assert f"x0 is noise of standard deviation {float(path.sigma(interval[0])):.6g}" in " ".join(str(module.__doc__).split())


def test_the_python_file_takes_no_other_number_of_steps(tmp_path: FilePath) -> None:
    module = loaded(python(artefact(CondOT(), (0.0, 1.0)), tmp_path))
    with pytest.raises(ValueError, match="takes exactly 5 steps, not 6"):
        module.sample(lambda t, x: x, 1.0, steps=6)


@pytest.mark.parametrize("kind", ["kdiffusion", "odeint"])
def test_the_files_need_torch_alone(kind: str, tmp_path: FilePath) -> None:
    made = artefact(CondOT(), (0.0, 1.0), "ab2", 4)
    file = (kdiffusion if kind == "kdiffusion" else odeint)(made, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path), file.stem], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)

    def field(t: Tensor, x: Tensor) -> Tensor:
        if kind == "odeint":
            return torch.sin(x) - t * x
        sigma = 1 - t
        return (x / (1 + sigma**2) - x) / sigma  # u = (D - x) / (1 - t) on the line

    expected = made.solver(FunctionField(field, CondOT(), (0.0, 1.0)), x)
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout), dtype=torch.float64), expected, rtol=1e-6, atol=1e-6)


def test_the_files_say_what_they_are_for(tmp_path: FilePath) -> None:
    for write in (kdiffusion, odeint, python):
        file = write(artefact(CondOT(), (0.0, 1.0)), tmp_path)
        assert file.name == f"bns_mine_w2_nfe5_{write.__name__}.py"
        prose = loaded(file).__doc__
        assert prose is not None
        words = " ".join(prose.split())
        assert words.startswith("bns at 5 NFE for mine, on the path condot.")
        assert "(fingerprint abc123), 5 evaluations and guidance 2 in u_w" in words
        assert "takes no other number of steps" in words
        assert max(map(len, prose.splitlines())) <= 110


@pytest.mark.parametrize(
    ("sigmas", "said"),
    [
        ([1.0, 0.5, 0.0], "takes exactly 5 steps, not 2"),
        ([0.6, 0.4, 0.3, 0.2, 0.1, 0.0], "begins at pure noise, sigma = 1, not at 0.6"),
    ],
)
def test_another_schedule_is_refused(sigmas: list[float], said: str, tmp_path: FilePath) -> None:
    module = loaded(kdiffusion(artefact(CondOT(), (0.0, 1.0)), tmp_path))
    with pytest.raises(ValueError, match=said):
        module.sample(lambda x, sigma: x, torch.zeros(1, 2), sigmas)
    module.sample(lambda x, sigma: x, torch.zeros(1, 2), torch.linspace(1, 0, 6))


@pytest.mark.parametrize("times", [[0.0, 0.5, 1.0], [0.0, 0.9], [1.0, 0.0]])
def test_times_between_are_refused(times: list[float], tmp_path: FilePath) -> None:
    module = loaded(odeint(artefact(CondOT(), (0.0, 1.0)), tmp_path))
    with pytest.raises(ValueError, match="goes from 0 to 1 in 5 evaluations and knows no state between"):
        module.odeint(lambda t, x: x, torch.zeros(1, 2), times)


def test_json_holds_the_numbers(tmp_path: FilePath) -> None:
    made = artefact(VP(), (0.0, 0.999))
    content = json.loads(plain_json(made, tmp_path).read_text())
    assert content["times"] == made.solver.times.tolist()
    assert [len(row) for row in content["b"]] == [1, 2, 3, 4, 5]
    assert content["a"] == made.solver.a.tolist()
    assert content["path"] == VP().to_dict()
    assert (content["nfe"], content["guidance"]) == (5, 2.0)


def test_where_there_is_no_data_sigma_has_no_number() -> None:
    rows = torch.tril(torch.full((2, 3), 0.5, dtype=torch.float64), 1)
    table = NonStationarySolver.from_rows(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), rows)
    with pytest.raises(UsageError, match=r"on the path 'cosine' where there is no data at all \(alpha = 0\)"):
        rows_in_data(SolverArtefact(table, Cosine(), (0.0, 1.0), "m", "f", 0.0, "bns"))


def test_split_columns_go_nowhere(tmp_path: FilePath) -> None:
    found = artefact(CondOT(), (0.0, 1.0))
    n = found.solver.nfe
    split = NonStationarySolver.from_rows(
        found.solver.times, torch.cat([found.solver.rows, found.solver.rows[:, 1:]], 1), guidance=2.0
    )
    made = SolverArtefact(split, CondOT(), (0.0, 1.0), "m", "f", 2.0, "bns")
    assert split.nfe == n
    for write in (kdiffusion, odeint, python, plain_json, sigmas):
        with pytest.raises(NotApplicableError, match="weighs the network's answers with and without"):
            write(made, tmp_path)


def test_another_direction_of_time(tmp_path: FilePath) -> None:
    for write in (odeint, python):
        with pytest.raises(UsageError, match="not 'up'"):
            write(artefact(CondOT(), (0.0, 1.0)), tmp_path, "up")  # type: ignore[arg-type]
