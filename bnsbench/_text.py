"""Text that others have written, as a terminal may show it, and numbers in text."""

from __future__ import annotations

import unicodedata

_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of control characters, lone surrogates and separators of lines and paragraphs."""

_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""The characters of Unicode's property Bidi_Control: they reverse the order in which others are shown."""

LONGEST_QUOTE = 200
"""Letters of a text that a sentence quotes."""

_DIGITS = 18
"""Digits of the largest whole numbers that are read: all of them fit into 64 bits."""


def spelt_out(text: str, kept: str = "") -> str:
    r"""Return the text with what a terminal would obey spelt out: control characters become \x1b, marks of direction \u202e.

    Args:
        text: Any text.
        kept: Characters among these that stay as they are, such as line breaks.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(character if character in kept else _spelt(character) for character in text)


def quoted(text: object) -> str:
    """Return a text in quotes for a sentence: control characters are spelt out, and the middle of a long one is left out."""
    try:
        whole = str(text)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, or what is nested as deeply
        return "a value that is too long to be shown"
    return repr(shortened(whole, LONGEST_QUOTE))


def shown(value: object) -> str:
    """Return a value as Python writes it, for a sentence; control characters are spelt out, a long one is shortened."""
    try:
        return shortened(spelt_out(repr(value)), LONGEST_QUOTE)
    except (ValueError, RecursionError):
        return "a value that is too long to be shown"


def shortened(text: str, most: int) -> str:
    """Return the text with its middle left out if it has more than so many letters."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-(most // 2) :]}"


def whole_number(text: str) -> int | None:
    """Return the whole number, 0 or more, that a text of at most 18 of the digits 0 to 9 means; None for any other text."""
    plain = text.strip()
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) <= _DIGITS else None


def _spelt(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN and character not in _TURNS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
