"""Checks of the built site and of the pages beside it: `python -m tests.docs.site SITE` exits with 1 if anything is wrong.

Nothing that a browser loads may come from another host, and every link in README, CONTRIBUTING and docs/ must lead
somewhere, its anchor included.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).parents[2]
ABROAD = re.compile(r"^(?:https?:)?//")
LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href"), ("object", "data")}
HARMLESS = {"canonical", "next", "prev", "license"}
"""Relations of links that no browser loads."""


class _Requests(HTMLParser):
    """Collects what a page makes a browser load from another host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name, value in attrs:
            if (tag, name) in LOADED and ABROAD.match(value or "") and given.get("rel") not in HARMLESS:
                self.found.append(f"<{tag}> {value}")


def requests(site: Path) -> Iterator[str]:
    """Yield what the pages and styles of a site load from other hosts."""
    for file in sorted(site.rglob("*.html")):
        parser = _Requests()
        parser.feed(file.read_text(encoding="utf-8"))
        yield from (f"{file.relative_to(site)} loads {each}" for each in parser.found)
    for file in sorted(site.rglob("*.css")):
        loaded = re.findall(r"(?:url\(\s*|@import\s+)[\"']?((?:https?:)?//[^\"')\s]+)", file.read_text(encoding="utf-8"))
        yield from (f"{file.relative_to(site)} loads {each}" for each in loaded)


def pages() -> list[Path]:
    """Return the pages whose links are checked."""
    beside = (
        "README",
        "CONTRIBUTING",
        "SECURITY",
        "CHANGELOG",
        "plugins/examples/README",
        "plugins/bnsbench-dask/README",
        "plugins/bnsbench-diffusers/README",
        "plugins/bnsbench-submitit/README",
    )
    return [*(ROOT / f"{name}.md" for name in beside), *sorted((ROOT / "docs").rglob("*.md"))]


_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")


def broken(page: Path) -> Iterator[str]:
    """Yield the links of a page that lead nowhere."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for target, anchor in _LINK.findall(re.sub(r"`[^`\n]+`", "``", text)):
        file = page.parent / target if target else page
        if not file.exists():
            yield f"{page.relative_to(ROOT)} links to {target}, which does not exist"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file):
            yield f"{page.relative_to(ROOT)} links to {target}#{anchor}, and there is no such heading"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: its headings as hosts and mkdocs name them, and those that it sets itself."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = {_slug(heading) for heading in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)}
    return headings | set(re.findall(r"<a id=\"([^\"]+)\">", text)) | set(re.findall(r"\{ #([\w.-]+) \}", text))


def _slug(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def main(site: Path) -> int:
    """Print what is wrong and return the exit code."""
    faults = [*requests(site), *(fault for page in pages() for fault in broken(page))]
    print("\n".join(faults) or f"{site}: no page loads anything from elsewhere, and all links lead somewhere.")  # noqa: T201
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
