"""Pages are self-contained, escaped, and well-formed."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.report import html, svg
from mlops.report.markup import escape, number
from mlops.report.style import CSS

VOID = {"meta", "br", "link", "img"}
EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(1)>&'`"


class Balanced(HTMLParser):
    """Fails on tags that do not nest; collects what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def parsed(document: str) -> Balanced:
    parser = Balanced()
    parser.feed(document)
    parser.close()
    assert parser.stack == []
    return parser


def everything(text: str) -> str:
    return html.page(
        text,
        text,
        [
            html.section(text, html.table([text, "n"], [[text, 1.5], [None, None]], caption=text), note=text),
            html.section(text, text),
            html.section("cards", html.cards([(text, text, text), ("a", 3, "")])),
            html.section("more", html.join([html.badge(text), html.code(text), html.details(text, text)])),
            html.section("list", html.definitions([(text, text)])),
            html.figures(
                [
                    svg.bars([text, "b"], [1.0, None], title=text, highlight=[text], threshold=0.2, note=text),
                    svg.grouped_bars([text, "b"], [(text, [0.5, 0.5]), ("new", [0.1, 0.9])], title=text, x_label=text),
                    svg.lines([(text, [(0.0, 1.0), (1.0, None), (2.0, 3.0)]), ("z", [])], title=text, y_label=text),
                    svg.curve([(0.0, 0.0), (1.0, 1.0)], title=text, x_label=text, y_label=text, diagonal=True),
                ]
            ),
            text,
        ],
        footer=text,
    )


def test_no_text_can_become_a_tag():
    parser = parsed(everything(EVIL))
    assert not parser.tags & {"script", "img", "iframe", "object", "form"}
    assert not [name for name, _ in parser.attributes if name.startswith("on")]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=40))
def test_any_text_gives_a_well_formed_page(text):
    parsed(everything(text))


def test_nothing_is_loaded_from_anywhere():
    document = everything("plain")
    parser = parsed(document)
    assert not [value for name, value in parser.attributes if name in ("src", "href", "action", "style")]
    assert "url(" not in document
    assert "@import" not in document


def test_the_policy_allows_this_style_sheet_and_nothing_else():
    document = html.page("t", "s", [])
    style = re.search(r"<style>(.*?)</style>", document, re.S)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in document


def test_both_themes_and_phones_are_styled():
    assert "prefers-color-scheme:dark" in CSS
    assert "max-width:34rem" in CSS
    assert 'name="viewport"' in html.page("t", "s", [])
    light, dark = CSS.split("@media screen and (prefers-color-scheme:dark)")[:2]
    for name in re.findall(r"(--[a-z]+):", light):
        assert f"{name}:" in dark, f"{name} has no dark value"


def figure(markup: str) -> ET.Element:
    root = ET.fromstring(markup)
    found = root.find("svg")
    assert found is not None
    return found


def test_figures_can_be_read_aloud():
    drawing = figure(svg.bars(["age", "size"], [0.31, 0.02], title="Drift", threshold=0.2))
    assert drawing.attrib["role"] == "img"
    title, description = drawing.find("title"), drawing.find("desc")
    assert title is not None
    assert description is not None
    assert drawing.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"
    assert description.text == "age 0.31; size 0.02"


def test_the_length_of_a_bar_is_its_value():
    drawing = figure(svg.bars(["a", "b"], [1.0, 0.25], title="t"))
    first, second = (float(r.attrib["width"]) for r in drawing.findall("rect"))
    assert second / first == pytest.approx(0.25, abs=0.01)


def test_two_distributions_stand_on_the_same_axis():
    drawing = figure(svg.grouped_bars(["x", "y"], [("old", [0.2, 0.8]), ("new", [0.8, 0.2])], title="t"))
    heights = [float(r.attrib["height"]) for r in drawing.findall("rect") if r.attrib["class"] in ("s0", "s1")]
    old_x, old_y, new_x, new_y = heights[:4]
    assert (old_x, old_y) == (new_y, new_x)
    assert old_y / old_x == pytest.approx(4.0, abs=0.05)


def test_a_gap_interrupts_a_line():
    drawing = figure(svg.lines([("a", [(0, 1), (1, 2), (2, None), (3, 1), (4, 2)])], title="t"))
    assert len(drawing.findall("polyline")) == 2


def test_intervals_are_drawn_where_both_ends_are_known_and_stay_inside():
    nan = math.nan
    bands = [[(0, 0.5, 1.5), (1, 1, 2), (2, nan, nan), (3, -4.0, 9.0)], [(0, None, 1), (1, None, None)]]
    points = [(0, 1), (1, 1.5), (2, None), (3, 2)]
    drawing = figure(svg.lines([("a", points), ("b", [(0, 0.9)])], title="t", bands=bands))
    (area,) = drawing.findall("polygon")
    assert [len(area.get("points").split()), area.get("class")] == [4, "s0"]
    (single,) = [line for line in drawing.findall("line") if line.get("class") == "l0"]
    top, bottom = float(single.get("y1")), float(single.get("y2"))
    assert 0 < top < bottom < float(drawing.get("viewBox").split()[3])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_numbers_that_are_not_finite_are_never_drawn(bad):
    for markup in (
        svg.bars(["a", "b"], [bad, 1.0], title="t"),
        svg.grouped_bars(["a"], [("old", [bad])], title="t"),
        svg.lines([("a", [(0.0, bad), (1.0, 2.0)])], title="t"),
        svg.curve([(0.0, bad)], title="t", x_label="x", y_label="y"),
    ):
        figure(markup)
        assert "nan" not in markup.lower()
        assert "inf" not in markup.lower()


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300)), max_size=8),
    st.lists(st.floats(0, 1e300), max_size=8),
)
def test_any_numbers_make_a_valid_drawing(points, values):
    labels = [str(i) for i in range(len(values))]
    for markup in (
        svg.lines([("a", points)], title="t", thresholds=[("limit", 3.0)]),
        svg.bars(labels, values, title="t"),
        svg.grouped_bars(labels, [("old", values)], title="t"),
    ):
        for coordinate in re.findall(r'[ "](?:x|y|x1|x2|y1|y2|width|height|cx|cy)="([^"]+)"', markup):
            assert abs(float(coordinate)) < 1e5


def test_every_series_has_its_name_in_the_legend():
    names = [f"a column with quite a long name {i}" for i in range(6)]
    figure = svg.lines([(n, [(0.0, 1.0), (1.0, 2.0)]) for n in names], title="t", y_label="effect")
    assert all(f">{name}</text>" in figure for name in names)
    rows = {float(y) for y in re.findall(r'<rect [^>]* y="([\d.]+)" width="10"', figure)}
    assert len(rows) == 6


def test_a_table_of_colours_says_when_a_row_was_over_and_groups_what_is_too_narrow():
    values = [[0.5, 1.5, None], [0.0, 0.2, 0.9]]
    figure = svg.heat(["hot", "calm"], [0.0, 1.0, 2.0], values, title="t", x_format=lambda v: f"day {v:g}")
    assert "hot: at or above 1 1 times, first day 1, at most 1.5; calm: never at 1, at most 0.9" in figure
    assert (figure.count('class="hot"'), figure.count('class="s0"')) == (1, 4)
    many = [[0.1] * 1_000]
    many[0][577] = 3.0
    figure = svg.heat(["x"], [float(i) for i in range(1_000)], many, title="t", x_format=str)
    assert figure.count("<rect") <= svg.CELLS
    assert figure.count('class="hot"') == 1
    assert "no values" in svg.heat(["x"], [0.0], [[math.nan]], title="t", x_format=str)
    with pytest.raises(ValueError, match="1 rows of 2"):
        svg.heat(["x"], [0.0, 1.0], [[1.0]], title="t", x_format=str)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="2 labels for 1 values"):
        svg.bars(["a", "b"], [1.0], title="t")
    with pytest.raises(ValueError, match="series 'old'"):
        svg.grouped_bars(["a"], [("old", [1.0, 2.0])], title="t")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234567, "1,234,567"), (0.000012345, "1.234e-05"), (12345.678, "12,345.7"), (-0.5, "-0.5"), (3.0, "3")],
)
def test_numbers_for_people(value, text):
    assert number(value) == text


def test_ticks_cover_the_range():
    for low, high in [(0.0, 1.0), (-3.2, 7.9), (1e-9, 2e-9), (5.0, 5.0), (-1e12, 1e12)]:
        marks = svg.ticks(low, high)
        assert marks[0] <= low
        assert marks[-1] >= high
        assert 2 <= len(marks) <= 13


def test_none_is_a_dash_and_truth_is_a_word():
    assert (escape(None), escape(True), escape(False)) == ("-", "yes", "no")


def test_a_table_without_rows_says_so():
    assert html.table(["a"], [], empty="No rows <yet>.") == '<p class="note">No rows &lt;yet&gt;.</p>'
