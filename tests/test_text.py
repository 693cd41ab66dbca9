"""Text of others as a terminal may show it, and whole numbers in text."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from bnsbench._text import LONGEST_QUOTE, quoted, shortened, spelt_out, whole_number
from bnsbench.errors import BnsbenchError, CorruptFileError, UsageError

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_nothing_that_a_terminal_obeys_is_left_and_all_else_is():
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        hidden = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        turning = unicodedata.category(character) == "Cf" and unicodedata.bidirectional(character) in BIDI
        mark = character in "\u061c\u200e\u200f"
        expected = rf"\x{code:02x}" if code < 0x100 else rf"\u{code:04x}"
        assert spelt_out(character) == (expected if hidden or turning or mark else character)


def test_characters_may_be_kept():
    assert spelt_out("a\n\t\x1b[31m\x9b\x7f", kept="\n\t") == "a\n\t\\x1b[31m\\x9b\\x7f"
    assert spelt_out("größer ≈ 世界") == "größer ≈ 世界"


@pytest.mark.parametrize("kind", [BnsbenchError, UsageError, CorruptFileError])
def test_sentences_of_ours_spell_out_what_they_quote(kind):
    assert str(kind("a \x1b]0;title\x07 b\u202e")) == "a \\x1b]0;title\\x07 b\\u202e"
    assert str(kind("one\ntwo")) == "one\ntwo"


def test_quotes_are_short():
    assert quoted("a'b") == '"a\'b"'
    assert len(quoted("x" * 10**6)) < LONGEST_QUOTE + 10
    assert quoted(10**5000) == "a value that is too long to be shown"
    assert quoted("\x1b") == "'\\x1b'"
    assert shortened("abcdefghij", 4) == "ab ... ij"
    assert shortened("abcd", 4) == "abcd"


@pytest.mark.parametrize(("text", "number"), [("0", 0), (" 12 ", 12), ("007", 7), ("9" * 18, 10**18 - 1)])
def test_whole_numbers(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["", "²", "٣", "1.0", "-1", "+1", "1e3", "1_000", "0x1", "inf", "nan", "9" * 19])
def test_other_texts_are_no_whole_numbers(text):
    assert whole_number(text) is None
