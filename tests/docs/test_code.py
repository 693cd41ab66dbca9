"""Python on the pages: it runs where it stands, or is marked as a fragment, whose imports and public names must exist."""

from __future__ import annotations

import ast
import importlib
import re
from typing import Any

import pytest
import torch
from torch import nn

import bnsbench
from tests.docs.replay import ROOT
from tests.docs.site import pages

BLOCK = re.compile(r"(<!-- fragment -->\n\n|`[\w/-]+\.py`[^`\n]*:\n\n)?^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
OF_PLUGINS = "bnsbench_diffusers"
INTERNAL = re.compile(r"\bbnsbench(?:\.\w+)+")
PUBLIC = ("bnsbench", "bnsbench.paths", "bnsbench.plugin", "bnsbench.testing")
PAGES = [page for page in pages() if page.name != "CHANGELOG.md"]


def code(page: str) -> list[tuple[str, str]]:
    """Return the mark and the content of every block of Python; the mark is that of a fragment, a file's name or empty."""
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


class Net(nn.Module):
    """A small velocity network for states [batch, 3, 32, 32]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(4, 3, 1)

    def forward(self, t, x):
        return self.layer(torch.cat([x, t.reshape(-1, 1, 1, 1).expand(len(x), 1, 32, 32)], 1))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNSBENCH_PLUGINS", "")
    monkeypatch.setenv("BNSBENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("page", ["docs/how-to/own-network.md", "docs/tutorial/first-table.md"])
def test_pages_run_from_top_to_bottom(page):
    names: dict[str, Any] = {"__name__": "page"}
    for mark, content in code(page):
        if not mark:
            exec(compile(content, page, "exec"), names)  # noqa: S102


def test_recipes_of_the_own_network_page_are_the_models_that_they_say():
    """Velocities of the recipes for noise, DDPM, EDM and other paths, for networks that know one Gaussian exactly."""
    names: dict[str, Any] = {"__name__": "page"}
    text = "\n".join(content for mark, content in code("docs/how-to/own-network.md") if not mark)
    slow = re.compile(r"^(?:solver|x1|board|table|samples|print).*$", re.MULTILINE)
    exec(compile(slow.sub("", text), "page", "exec"), names)  # noqa: S102
    spread = 0.5  # of data N(0, spread^2), so that all predictions are multiples of the state
    t, x = torch.tensor([0.3, 0.6], dtype=torch.float64), torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)

    linear = names["linear_vp"].path
    torch.testing.assert_close(linear.alpha(t), t, rtol=0, atol=1e-9)
    torch.testing.assert_close(linear.d_sigma(t), -t / (1 - t**2).sqrt(), rtol=0, atol=1e-6)
    edm = names["edm"]
    edm.network = lambda y, sigma: spread**2 / (spread**2 + sigma[:, None] ** 2) * y
    sigma = edm.path.sigma(t)[:, None]
    expected = edm.path.d_sigma(t)[:, None] * sigma / (spread**2 + sigma**2) * x
    torch.testing.assert_close(edm.field(None)(t, x), expected, rtol=1e-5, atol=1e-6)
    ddpm = names["ddpm"]
    ddpm.network = lambda y, timestep: timestep[:, None].expand_as(y)
    told = ddpm.predict(torch.tensor(0.0), x, None)
    torch.testing.assert_close(told, torch.full((2, 2), 999.0, dtype=torch.float64))
    schedule = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)
    torch.testing.assert_close(torch.as_tensor(ddpm.path.alphas_cumprod), schedule.double(), rtol=1e-4, atol=0)


def test_the_readme_trains_for_a_network():
    names: dict[str, Any] = {"net": Net().eval(), "x0": torch.zeros(2, 3, 32, 32), "field": lambda t, x: -x}
    for _, content in code("README.md"):
        quick = content.replace("nfe=8", "nfe=2, pairs=32").replace("count=16", "count=2")
        exec(compile(quick, "README.md", "exec"), names)  # noqa: S102
    assert names["x1"].shape == (2, 3, 32, 32)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_on_pages_can_be_read_and_imported(page):
    for _, content in code(str(page.relative_to(ROOT))):
        for node in ast.walk(_parsed(content)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("bnsbench", OF_PLUGINS):
                _check_import(node.module, [alias.name for alias in node.names])


def _parsed(content: str) -> ast.Module:
    """Return the code's tree; what is a signature alone is read as a function."""
    try:
        return ast.parse(content)
    except SyntaxError:
        return ast.parse(f"{content.rstrip()}: ...")


def _check_import(module: str, names: list[str]) -> None:
    if module.startswith(OF_PLUGINS):  # which the main environment does not have
        file = ROOT / "plugins/bnsbench-diffusers" / module.replace(".", "/")
        assert file.with_suffix(".py").is_file() or (file / "__init__.py").is_file(), module
    elif hasattr(bnsbench, "wrap"):
        found = importlib.import_module(module)
        assert [name for name in names if not hasattr(found, name)] == [], module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_of_the_package_on_pages_exist(page):
    text = re.sub(r"```\w*\n.*?```|https?://\S+", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    missing = [name for inline in re.findall(r"`([^`\n]+)`", text) for name in INTERNAL.findall(inline) if not _exists(name)]
    assert missing == []


def _exists(name: str) -> bool:
    if not hasattr(bnsbench, "wrap") and name.split(".")[1] in {
        "wrap",
        "train",
        "tune",
        "sample",
        "compare",
        "solver",
        "paths",
        "plugin",
    }:
        return True
    if not hasattr(bnsbench, "wrap") and name in ("bnsbench.Model", "bnsbench.publish"):
        return True
    value: Any = bnsbench
    for number, part in enumerate(name.split(".")[1:], 2):
        if not hasattr(value, part):
            try:
                importlib.import_module(".".join(name.split(".")[:number]))
            except ModuleNotFoundError:
                return name.endswith((".plugin", ".py"))
        value = getattr(value, part)
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_on_pages_uses_public_names_only(page):
    for _, content in code(str(page.relative_to(ROOT))):
        nodes = list(ast.walk(_parsed(content)))
        used = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
        used |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        assert {name for name in used if name.split(".")[0] == "bnsbench"} <= set(PUBLIC)
