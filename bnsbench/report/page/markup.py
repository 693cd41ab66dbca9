"""HTML and SVG made of nested calls: every text and attribute is escaped here, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache

from bnsbench.report.escaping import html_text

SHORT = 64
"""Characters of a text up to which its escaped form is kept."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Content = str | int | Iterable["Content"] | None


def tag(name: str, *content: Content, **attributes: str | int | float | bool | None) -> Html:
    """Return an element; texts among its content are escaped, `Html` is taken as it is, None is left out.

    Args:
        name: Of the element.
        content: Its texts and elements, also in nested iterables.
        attributes: By name: a trailing underscore is dropped, others become hyphens. True is an attribute without value;
            None and False are left out.
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items())
    return Html(f"<{name}{shown}>{markup(content)}</{name}>")


def void(name: str, **attributes: str | int | float | bool | None) -> Html:
    """Return an element without content, closed as SVG needs it."""
    return Html(f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}/>")


def markup(content: Content) -> Html:
    """Return content as markup."""
    if content is None:
        return Html("")
    if isinstance(content, Html):
        return content
    if isinstance(content, str):
        return Html(_escaped(content))
    if isinstance(content, int):
        return Html(content)
    return Html("".join([markup(each) for each in content]))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    name = _name(key)
    if value is True:
        return f" {name}"
    if isinstance(value, str):
        return f' {name}="{_escaped(value)}"'
    return f' {name}="{value:.6g}"' if isinstance(value, float) else f' {name}="{value}"'


@cache
def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _escaped(text: str) -> str:
    """Return text for HTML; short ones come often."""
    return _short(text) if len(text) <= SHORT else html_text(text)


@lru_cache(65_536)
def _short(text: str) -> str:
    return html_text(text)
