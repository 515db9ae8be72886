"""What may be drawn, and what the drawing holds."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from chat.sandbox.chart import KINDS, Chart, parse_chart, read_chart
from chat.sandbox.drawing import draw

ROWS = [{"month": "Jan", "sold": 3, "back": 1}, {"month": "Feb", "sold": 4.5, "back": None}]
SVG = "{http://www.w3.org/2000/svg}"


def elements(chart: Chart, name: str) -> list[ET.Element]:
    """The elements of a kind in the drawing, which has to be well-formed."""
    return list(ET.fromstring(draw(chart)).iter(SVG + name))


@pytest.mark.parametrize(
    "rows",
    [
        {"a": 1, "b": 2},
        [("a", 1), ("b", 2)],
        [["a", Decimal(1)], ["b", 2.0]],
        [{"x": "a", "y": 1}, {"x": "b", "y": 2}],
    ],
)
def test_rows_have_many_forms(rows: Any) -> None:
    chart = parse_chart("bar", rows)
    assert chart.labels == ("a", "b")
    assert [line.values for line in chart.series] == [(1, 2)]


def test_columns_are_chosen_by_name() -> None:
    chart = parse_chart("line", ROWS, x="month", y=["back", "sold"], title="Both")
    assert [(line.name, line.values) for line in chart.series] == [
        ("back", (1, None)),
        ("sold", (3, 4.5)),
    ]


def test_all_columns_of_numbers_are_taken_unless_named() -> None:
    assert [line.name for line in parse_chart("bar", ROWS).series] == ["sold", "back"]


@pytest.mark.parametrize(
    ("kind", "rows", "options", "why"),
    [
        ("bubble", {"a": 1}, {}, "kind must be one of"),
        ("bar", [], {}, "rows is a list"),
        ("bar", "abc", {}, "rows is a list"),
        ("bar", [{"m": "x"}], {}, "rows is a list"),
        ("bar", ROWS, {"y": "other"}, "no column 'other'"),
        ("bar", {"a": "x"}, {}, "rows is a list"),
        ("bar", {"a": True}, {}, "rows is a list"),
        ("bar", [("a", 1), ("b", "2")], {"y": "value"}, "int or float, not str"),
        ("bar", {"a": None}, {}, "no numbers in"),
        ("pie", {"a": -1, "b": 3}, {}, "none negative"),
        ("pie", ROWS, {}, "one column"),
        ("bar", {"a": 1e300}, {}, "between -1e15 and 1e15"),
        ("bar", {"a": float("inf")}, {}, "between -1e15 and 1e15"),
        ("line", [(str(i), i) for i in range(501)], {}, "At most 500"),
        ("line", [{str(i): i for i in range(10)}], {"y": [str(i) for i in range(9)]}, "At most"),
    ],
)
def test_what_cannot_be_drawn_is_explained(
    kind: str, rows: Any, options: dict[str, Any], why: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=why):
        parse_chart(kind, rows, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_chart_survives_the_way_out(kind: str) -> None:
    chart = parse_chart(kind, ROWS, y="sold", title="Sold")
    assert read_chart(chart.wire()) == chart


def test_bars_are_as_high_as_their_numbers() -> None:
    bars = elements(parse_chart("bar", {"a": 1, "b": 3}), "rect")[1:]
    low, high = (float(bar.attrib["height"]) for bar in bars)
    assert high == pytest.approx(3 * low, rel=0.01)


def test_a_number_below_zero_hangs_from_the_axis() -> None:
    up, down = elements(parse_chart("bar", {"a": 2, "b": -2}), "rect")[1:]
    bottom = float(up.attrib["y"]) + float(up.attrib["height"])
    assert float(down.attrib["y"]) == pytest.approx(bottom, abs=0.2)


def test_a_gap_breaks_the_line() -> None:
    chart = parse_chart("line", [("a", 1), ("b", None), ("c", 3), ("d", 4)])
    line = elements(chart, "path")[-1].attrib["d"]
    assert line.count("M") == 2 and line.count("L") == 1


def test_points_stand_at_their_numbers() -> None:
    points = elements(parse_chart("scatter", [(0, 1), (1, 1), (10, 1)]), "circle")
    left, near, far = (float(point.attrib["cx"]) for point in points)
    assert far - left == pytest.approx(10 * (near - left), rel=0.01)


def test_shares_of_a_pie_are_told() -> None:
    texts = [element.text for element in elements(parse_chart("pie", {"a": 1, "b": 3}), "text")]
    assert {"a (25.0%)", "b (75.0%)"} <= set(texts)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_texts_are_only_text(kind: str) -> None:
    evil = '"><script>alert(1)</script>\x00\x08\ud800&'
    drawing = draw(parse_chart(kind, [{"x": evil, evil: 1}, {"x": evil, evil: 2}], title=evil))
    assert "<script" not in drawing
    drawing.encode()
    assert not [item for item in ET.fromstring(drawing).iter() if item.tag == f"{SVG}script"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("values", [[0], [5], [1e15, 1e-15], [1e-300, 0], [7] * 500])
def test_every_size_can_be_drawn(kind: str, values: list[float]) -> None:
    if kind == "pie" and not sum(values):
        values = [1]
    chart = parse_chart(kind, [(str(n), value) for n, value in enumerate(values)])
    assert "nan" not in draw(chart) and "inf" not in draw(chart)
    assert elements(chart, "text")


def test_room_for_turned_labels_is_there_where_labels_are_turned() -> None:
    heights = [
        ET.fromstring(draw(parse_chart("bar", dict.fromkeys(labels, 1)))).get("height")
        for labels in (("a", "b"), [f"label number {number}" for number in range(20)])
    ]
    assert heights == ["372", "420"]
