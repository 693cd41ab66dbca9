"""Texts of every kind in a terminal, in Markdown and in LaTeX: what is shown is what was meant, on one line."""

from __future__ import annotations

import csv
import html
import io
import random
import re
import unicodedata
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from bnsbench.report.escaping import csv_cell, html_text, latex_text, markdown_cell, markdown_line, one_line

CHARACTERS = [
    *map(chr, range(0x20, 0x7F)),
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *map(chr, range(0xA1, 0x180)),
    *"\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ud800é世\uff1d\uff0b\uff0d\uff20",
]
GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def texts() -> list[str]:
    """Every character alone, twice, at the beginning, in the middle and at the end, and five hundred drawn texts."""
    rng = random.Random(0)  # noqa: S311
    drawn = ["".join(rng.choices(CHARACTERS, k=rng.randint(1, 14))) for _ in range(500)]
    placed = [form.format(c) for c in CHARACTERS for form in ("{0}", "{0}{0}", "{0}x", "x{0}y", "x{0}", "{0}x{0}", "x {0}")]
    return [
        *placed,
        *drawn,
        "[a](b)",
        "[a][b]",
        "<b>bold</b>",
        "&amp;",
        "`code`",
        "_a_",
        "a_b",
        "__a__",
        "~~a~~",
        "$a$",
        "\\|",
        "# a #",
    ]


def shown(rendered: str, tag: str) -> list[str]:
    return [html.unescape(re.sub("<[^>]*>", "", each)) for each in re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", rendered, re.S)]


def test_a_line_has_no_control_characters_and_keeps_the_rest():
    for text in texts():
        line = one_line(text)
        assert len(line.splitlines()) <= 1
        assert not {unicodedata.category(character) for character in line} & {"Cc", "Cs", "Zl", "Zp"}
    printable = "".join(map(chr, range(0x20, 0x7F))) + "größer ≈ 世界"
    assert one_line(printable) == printable
    assert one_line("two\r\nlines\tand \x1b[31m") == "two lines and \\x1b[31m"
    assert one_line("a\u202eb") == "a\\u202eb"


FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    " =1",
    "\t=1",
    "\r=1",
    "\uff1d1",
    "a;=1+1",
    "=",
    "--1",
    "-=1",
    "=1e3",
]


def test_a_cell_of_csv_is_no_formula_and_else_as_it_was():
    for text in [*texts(), *FORMULAS]:
        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerow([csv_cell(text), "end"])
        [[cell, end]] = csv.reader(io.StringIO(stream.getvalue(), newline=""))
        assert end == "end"
        assert cell.replace("'", "") == text.replace("'", "").replace("\r\n", "\n").replace("\r", "\n")
        # Some programs end a cell at a semicolon, whatever stands around it.
        for part in cell.split(";"):
            assert not re.match(r"\s*[=@\uff1d\uff0b\uff0d\uff20]|\s*[+-]\D", part), text


@pytest.mark.parametrize("text", ["-", "+", "-3.5", "1e-9", "-1e-9", "+.5", "", "euler", "a-b", "dpm++2m", "a=b"])
def test_numbers_and_names_are_left_as_they_are_in_csv(text):
    assert csv_cell(text) == text


class _Text(HTMLParser):
    """The text, the elements and the attributes of a page."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.text, self.tags = "", []
        self.feed(page)
        self.close()

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))


def test_html_shows_the_text_and_takes_nothing_for_markup():
    for text in [
        *texts(),
        "<script>alert(1)</script>",
        "<img onerror=x>",
        '" onload="x',
        "' onload='x",
        "&lt;",
        "<!--",
        "]]>",
    ]:
        inside = _Text(f"<p>{html_text(text)}</p>")
        assert (inside.text, inside.tags) == (one_line(text), [("p", [])]), text
        for quote in "\"'":
            attribute = _Text(f"<p title={quote}{html_text(text)}{quote}>x</p>")
            assert (attribute.text, attribute.tags) == ("x", [("p", [("title", one_line(text))])]), text


@pytest.mark.parametrize("place", [0, 1])
def test_a_cell_of_markdown_shows_the_text(place):
    for text in texts():
        cells = ["x", "x"]
        cells[place] = markdown_cell(text)
        table = GITHUB.render(f"| a | b |\n| --- | ---: |\n| {' | '.join(cells)} |\n| end | end |\n")
        found = shown(table, "td")
        assert len(found) == 4, text
        assert found[place] == one_line(text).strip(" "), text


def test_a_heading_of_markdown_shows_the_text():
    for text in texts():
        rendered = GITHUB.render(f"### a {markdown_line(text)}\n\nend\n")
        assert shown(rendered, "h3") == [f"a {one_line(text)}".rstrip(" ")], text
        assert shown(rendered, "p") == ["end"]


COMMANDS = {
    "textbackslash": "\\",
    "textasciitilde": "~",
    "textasciicircum": "^",
    "textless": "<",
    "textgreater": ">",
    "textbar": "|",
    "textasciigrave": "`",
}
"""LaTeX's own names of characters."""
TOKEN = re.compile(r"\\([a-z]+)\{\}|\\([&%$#_{}])|\{\\char(\d+)\}|\{([\[\]*])\}|([-',])\{\}|([^\\{}&%$#_~^])")


def typeset(source: str) -> str:
    """Return what LaTeX sets; an error for anything that is a command, a group or a special character otherwise."""
    result, place = [], 0
    while place < len(source):
        token = TOKEN.match(source, place)
        assert token is not None, source[place:]
        name, special, code, bracket, single, plain = token.groups()
        result.append(COMMANDS[name] if name else chr(int(code)) if code else special or bracket or single or plain)
        place = token.end()
    return "".join(result)


def test_latex_sets_the_text():
    for text in texts():
        assert typeset(latex_text(text)) == one_line(text), text


@pytest.mark.parametrize("text", ["[x]", "*x", "a--b", "a---b", "''", ",,"])
def test_latex_takes_nothing_for_an_option_or_a_ligature(text):
    source = latex_text(text)
    assert not source.startswith(("[", "*"))
    assert not re.search(r"--|''|,,", source)
