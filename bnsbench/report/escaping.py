"""Any text as one line of a table: for a terminal or a pipe, for GitHub's Markdown, and for LaTeX.

Every table of the package takes its cells from here, so that no name, path or reason can break a row or be read as markup.
"""

from __future__ import annotations

import re
import unicodedata

_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
_UNSEEN = ("Cc", "Cs")
"""Unicode's categories of control characters and of lone surrogates."""

_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that reverse the order of those after them."""

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
    return "".join(_spelt(character) for character in _BREAKS.sub(" ", text))


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


def _spelt(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN and character not in _TURNS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
