"""Rendering of charts as SVG, which scales losslessly and needs no font rendering package.

The markup is generated here. Labels are escaped; it has no scripts, style sheets or URLs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from chat.sandbox.chart import MAX_NUMBER, Chart

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 88, 24, 56, 88
# The part of BOTTOM that only rotated labels need.
ROTATED_LABEL_HEIGHT = 48
# The Okabe-Ito palette, distinguishable with colour vision deficiency.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7f00", "#444444")
INK, GRID = "#222222", "#dddddd"
MAX_LABELS = 24
TICKS = 5
MAX_MARKED_POINTS = 60
MAX_ROTATED_LENGTH = 16


def draw(chart: Chart) -> str:
    """Return the chart as an SVG document."""
    parts = _pie(chart) if chart.kind == "pie" else _plot(chart)
    body = "".join(parts)
    name = escape(_remove_unprintable(chart.title) or f"{chart.kind} chart")
    height = (
        HEIGHT
        if chart.kind == "pie" or _has_rotated_labels(chart)
        else HEIGHT - ROTATED_LABEL_HEIGHT
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" font-family="sans-serif" font-size="12">'
        f"<title>{name}</title>"
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
        f"{_render_text(WIDTH / 2, 26, chart.title, size=16)}{body}</svg>"
    )


def _plot(chart: Chart) -> Iterator[str]:
    values = [value for line in chart.series for value in line.values if value is not None]
    ticks = _compute_ticks(min(values), max(values), from_zero=chart.kind == "bar")
    yield from _grid(ticks)
    yield from _labels(chart)
    for index in range(len(chart.series)):
        if chart.kind == "bar":
            yield from _bars(chart, index, ticks)
        else:
            yield from _points(chart, index, ticks)
    if len(chart.series) > 1:
        yield from _legend([line.name for line in chart.series])


def _compute_ticks(least: float, most: float, *, from_zero: bool) -> list[float]:
    if from_zero:
        least, most = min(0, least), max(0, most)
    if least == most:
        least, most = least - 1, most + 1
    rough = (most - least) / TICKS
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first, last = math.floor(least / step), math.ceil(most / step)
    return [index * step for index in range(first, last + 1)]


def _scale_y(value: float, ticks: list[float]) -> float:
    share = (value - ticks[0]) / (ticks[-1] - ticks[0])
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def _compute_slot_width(chart: Chart) -> float:
    return (WIDTH - LEFT - RIGHT) / len(chart.labels)


def _grid(ticks: list[float]) -> Iterator[str]:
    for tick in ticks:
        y = _scale_y(tick, ticks)
        colour = INK if tick == 0 else GRID
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{colour}"/>'
        yield _render_text(LEFT - 8, y + 4, f"{tick:,.10g}", anchor="end")


def _labels(chart: Chart) -> Iterator[str]:
    if (numbers := _parse_label_numbers(chart)) is not None:
        ticks = _compute_ticks(min(numbers), max(numbers), from_zero=False)
        for tick, x in zip(ticks, _scale_x(ticks, ticks), strict=True):
            yield _render_text(x, HEIGHT - BOTTOM + 18, f"{tick:,.10g}")
        return
    slot, every, turned = (
        _compute_slot_width(chart),
        _compute_label_interval(chart),
        _has_rotated_labels(chart),
    )
    for index in range(0, len(chart.labels), every):
        x, y = LEFT + (index + 0.5) * slot, HEIGHT - BOTTOM + 18
        label = chart.labels[index]
        if turned:
            label = (
                label if len(label) <= MAX_ROTATED_LENGTH else f"{label[: MAX_ROTATED_LENGTH - 1]}…"
            )
        turn = f' transform="rotate(-40 {x:.1f} {y})"' if turned else ""
        yield _render_text(x, y, label, anchor="end" if turned else "middle", more=turn)


def _compute_label_interval(chart: Chart) -> int:
    """Return the label interval: 1 to write every label, 2 for every second label, and so on."""
    return math.ceil(len(chart.labels) / MAX_LABELS)


def _has_rotated_labels(chart: Chart) -> bool:
    """Return True if the labels are too long to fit side by side."""
    longest = max(len(label) for label in chart.labels)
    return _parse_label_numbers(chart) is None and longest * 7 > _compute_slot_width(
        chart
    ) * _compute_label_interval(chart)


def _parse_label_numbers(chart: Chart) -> list[float] | None:
    """Return the labels of a scatter chart as numbers, or None if they are not all numbers."""
    if chart.kind != "scatter":
        return None
    try:
        found = [float(label) for label in chart.labels]
    except ValueError:
        return None
    return found if all(abs(number) <= MAX_NUMBER for number in found) else None


def _scale_x(numbers: list[float], ticks: list[float]) -> list[float]:
    width, span = WIDTH - LEFT - RIGHT, ticks[-1] - ticks[0]
    return [LEFT + (number - ticks[0]) / span * width for number in numbers]


def _compute_positions(chart: Chart) -> list[float]:
    """Return the x coordinate of each label."""
    if (numbers := _parse_label_numbers(chart)) is not None:
        return _scale_x(numbers, _compute_ticks(min(numbers), max(numbers), from_zero=False))
    return [LEFT + (index + 0.5) * _compute_slot_width(chart) for index in range(len(chart.labels))]


def _bars(chart: Chart, index: int, ticks: list[float]) -> Iterator[str]:
    slot, zero = _compute_slot_width(chart), _scale_y(0, ticks)
    width = slot * 0.8 / len(chart.series)
    for place, value in enumerate(chart.series[index].values):
        if value is not None:
            x, y = LEFT + (place + 0.1) * slot + index * width, _scale_y(value, ticks)
            yield (
                f'<rect x="{x:.1f}" y="{min(y, zero):.1f}" width="{width:.1f}" '
                f'height="{abs(y - zero):.1f}" fill="{COLOURS[index]}"/>'
            )


def _points(chart: Chart, index: int, ticks: list[float]) -> Iterator[str]:
    path, pen = "", "M"
    for x, value in zip(_compute_positions(chart), chart.series[index].values, strict=True):
        if value is None:
            pen = "M"
            continue
        y = _scale_y(value, ticks)
        path, pen = f"{path}{pen}{x:.1f} {y:.1f}", "L"
        if chart.kind == "scatter" or len(chart.labels) <= MAX_MARKED_POINTS:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{COLOURS[index]}"/>'
    if chart.kind == "line":
        yield f'<path d="{path}" fill="none" stroke="{COLOURS[index]}" stroke-width="2"/>'


def _pie(chart: Chart) -> Iterator[str]:
    values = [value or 0 for value in chart.series[0].values]
    x, y, radius, turn = WIDTH * 0.32, HEIGHT / 2 + 16, 150, 0.0
    shares = [value / sum(values) for value in values]
    for index, share in enumerate(shares):
        colour = COLOURS[index % len(COLOURS)]
        if share > 0.9999:
            yield f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{colour}"/>'
            continue
        ends = [2 * math.pi * at for at in (turn, turn + share)]
        (x1, y1), (x2, y2) = ((x + radius * math.sin(a), y - radius * math.cos(a)) for a in ends)
        yield (
            f'<path d="M{x} {y}L{x1:.1f} {y1:.1f}A{radius} {radius} 0 {int(share > 0.5)} 1 '
            f'{x2:.1f} {y2:.1f}Z" fill="{colour}" stroke="#ffffff"/>'
        )
        turn += share
    pairs = zip(chart.labels, shares, strict=True)
    names = [f"{label[:28]} ({share:.1%})" for label, share in pairs]
    yield from _legend(names[:16], x=WIDTH * 0.6, across=False)


def _legend(names: list[str], *, x: float = LEFT, across: bool = True) -> Iterator[str]:
    y: float = 42 if across else TOP + 24
    for index, name in enumerate(names):
        colour = COLOURS[index % len(COLOURS)]
        yield f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" fill="{colour}"/>'
        shown = name if not across or len(name) <= 12 else f"{name[:11]}…"
        yield _render_text(x + 15, y, shown, anchor="start")
        x, y = (x + 78, y) if across else (x, y + 20)


def _render_text(
    x: float, y: float, text: str, *, anchor: str = "middle", size: int = 12, more: str = ""
) -> str:
    shown = escape(_remove_unprintable(text))
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{INK}"{more}>{shown}</text>'
    )


def _remove_unprintable(text: str) -> str:
    """Remove characters that XML cannot represent even escaped.

    These are most control characters and lone surrogates.
    """
    return "".join(sign for sign in text if sign.isprintable())
