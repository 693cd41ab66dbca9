"""Any text in a table: for a terminal or a pipe, for CSV, for GitHub's Markdown, for LaTeX and for HTML.

Every table of the package takes its cells from here, so that no name, path or reason can break a row or be read as markup.
"""

from __future__ import annotations

import html
import re

from bnsbench._text import spelt_out

_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")

_FORMULA = re.compile(r"(^|;)(?=\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a spreadsheet would read a formula: at the beginning of a cell, and behind what some take for the end of one."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?", re.IGNORECASE | re.ASCII)
"""What begins like a formula, and is none: a number, or a sign alone."""

_MARKDOWN = re.compile(r"[\\`*\[<|~&$]|(?<![^\W_])_|_(?![^\W_])")
"""Markup inside a line; an underscore between letters is none."""

_HEADING = re.compile(r"[\\`*<|~&$#]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[])")
"""The same for a line by itself, where a bracket is markup only if another follows, and a number sign may end it."""

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"{\char34}",  # babel makes the character itself a command in some languages
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"{{{character}}}" for character in "[]*"},  # after a row's end they would be its options
}

_LIGATURES = re.compile(r"([-',])(?=\1)")


def one_line(text: str) -> str:
    r"""Return the text on one line, as a terminal or a pipe can show it.

    Line breaks and tabs become a space; other control characters, which could move the cursor or reverse what follows, are
    spelt out, such as \x1b.
    """
    return spelt_out(_BREAKS.sub(" ", text))


def csv_cell(text: str) -> str:
    """Return the text as a cell that no spreadsheet takes for a formula: an apostrophe stands before what begins like one.

    All else is kept, for CSV is data, but that every line break is the same: whoever writes the file sets quotation marks,
    and the command line spells out control characters where it prints one.
    """
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return plain if _NUMBER.fullmatch(plain) else _FORMULA.sub(r"\1'", plain)


def html_text(text: str) -> str:
    """Return the text for HTML, as content of an element or in the quotes of an attribute."""
    return html.escape(one_line(text))


def markdown_cell(text: str) -> str:
    """Return the text as a cell of a table in GitHub's Markdown that shows just these characters."""
    return _MARKDOWN.sub(lambda match: f"\\{match[0]}", one_line(text))


def markdown_line(text: str) -> str:
    """Return the text as a heading or a sentence of GitHub's Markdown; single brackets, which are no link, stay plain."""
    return _HEADING.sub(lambda match: f"\\{match[0]}", one_line(text))


def latex_text(text: str) -> str:
    """Return the text for LaTeX, in any place and with any font encoding; letters beyond ASCII stay as they are."""
    escaped = "".join(_LATEX.get(character, character) for character in one_line(text))
    return _LIGATURES.sub(r"\1{}", escaped)
