"""Links on the pages lead somewhere, and the site asks no other host for anything."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.docs import site
from tests.docs.replay import ROOT


@pytest.mark.parametrize("page", site.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors_lead_somewhere(page):
    assert list(site.broken(page)) == []


def test_broken_links_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "ROOT", tmp_path)
    (tmp_path / "other.md").write_text("# A heading: `code`, and more\n")
    page = tmp_path / "page.md"
    page.write_text("[a](other.md#a-heading-code-and-more) [b](other.md#no) [c](gone.md) [d](#here)\n\n## Here\n")
    assert list(site.broken(page)) == [
        "page.md links to other.md#no, and there is no such heading",
        "page.md links to gone.md, which does not exist",
    ]


def test_requests_to_other_hosts_are_found(tmp_path):
    (tmp_path / "page.html").write_text(
        '<link rel="canonical" href="https://a.org/"><link rel="stylesheet" href="https://b.org/s.css">'
        '<script src="//c.org/x.js"></script><a href="https://d.org/">d</a><img src="e.png">'
    )
    (tmp_path / "style.css").write_text("@font-face { src: url(https://f.org/font.woff) } a { background: url(g.png) }")
    assert list(site.requests(tmp_path)) == [
        "page.html loads <link> https://b.org/s.css",
        "page.html loads <script> //c.org/x.js",
        "style.css loads https://f.org/font.woff",
    ]


def test_every_page_has_its_place_in_the_navigation():
    named = re.findall(r"^\s+- ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md"))


def test_no_host_is_named_that_does_not_exist():
    """Addresses of the project are one setting, which is left open."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    own = [each for name, each in urls.items() if name in ("Repository", "Documentation", "Issues")]
    text = "".join(page.read_text(encoding="utf-8") for page in (*site.pages(), ROOT / "CITATION.cff"))
    assert own or not re.search(r"github\.com/[\w-]*bnsbench|bnsbench\.(?:org|io|dev|readthedocs)", text)
