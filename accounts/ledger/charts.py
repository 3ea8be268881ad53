"""Charts as SVG, made here: no script, no other host, and each with its figures for a table beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

# The size of the drawing's own units: as wide as a telephone, so that letters are as large there as they are.
_WIDTH, _HEIGHT = 400, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 4, 396, 18, 166
_ROW = 34

Show = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one kind, each of one label; None: there is none. `look`: its class in usage.css."""

    name: str
    look: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, what its colours mean, and the same as a table."""

    title: str
    drawing: SafeString
    legend: tuple[tuple[str, str], ...]
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def columns(title: str, labels: Sequence[str], series: Sequence[Series], show: Show) -> Chart:
    """A column for each label, its series on top of each other."""
    top = _ceiling(max((sum(column) for column in _transposed(series)), default=0))
    step = (_RIGHT - _LEFT) / max(1, len(labels))
    pieces = []
    for place, column in enumerate(_transposed(series)):
        said = ", ".join(f"{each.name} {show(value)}" for each, value in zip(series, column, strict=True))
        rectangles, base = [], 0.0
        for each, value in zip(series, column, strict=True):
            height = (_BOTTOM - _TOP) * value / top
            if height:
                x, y = _LEFT + place * step, _BOTTOM - base - height
                rectangles.append((each.look, _n(x), _n(y), _n(max(0.6, step * 0.8)), _n(height)))
            base += height
        drawn = format_html_join(
            "", '<rect class="{}" x="{}" y="{}" width="{}" height="{}"></rect>', rectangles
        )
        pieces.append((f"{labels[place]}: {said}", drawn))
    body = format_html_join("", "<g><title>{}</title>{}</g>", pieces)
    return _chart(title, labels, series, show, _framed(title, labels, show(top), body))


def curves(title: str, labels: Sequence[str], series: Sequence[Series], show: Show) -> Chart:
    """A line for each series, with a gap where there is no value and a stop where one is beyond measure."""
    finite = [value for each in series for value in each.values if value is not None and math.isfinite(value)]
    top = _ceiling(max(finite, default=0))
    step = (_RIGHT - _LEFT) / max(1, len(labels))

    def at(place: int, value: float) -> tuple[str, str]:
        return _n(_LEFT + (place + 0.5) * step), _n(_BOTTOM - (_BOTTOM - _TOP) * min(value, top) / top)

    drawn = []
    for each in series:
        lines: list[list[str]] = [[]]
        dots = []
        for place, value in enumerate(each.values):
            if value is None:
                lines.append([])
                continue
            x, y = at(place, value)
            lines[-1].append(f"{x},{y}")
            dots.append((each.look, x, y, f"{labels[place]}: {each.name} {show(value)}"))
        paths = [(each.look, " ".join(points)) for points in lines if len(points) > 1]
        drawn.append(format_html_join("", '<polyline class="line {}" points="{}"></polyline>', paths))
        dot = '<circle class="{}" cx="{}" cy="{}" r="2"><title>{}</title></circle>'
        drawn.append(format_html_join("", dot, dots))
    body = format_html_join("", "{}", ((part,) for part in drawn))
    return _chart(title, labels, series, show, _framed(title, labels, show(top), body))


def bars(title: str, labels: Sequence[str], series: Series, show: Show) -> Chart:
    """A bar for each label, one below the other."""
    values = [value or 0 for value in series.values]
    top = max(values, default=0) or 1
    rows = [
        (
            _n(place * _ROW + 13),
            f"{_short(label)}: {show(value)}",
            series.look,
            _n(place * _ROW + 18),
            _n((_RIGHT - _LEFT) * value / top),
        )
        for place, (label, value) in enumerate(zip(labels, values, strict=True))
    ]
    body = format_html_join(
        "",
        '<text x="4" y="{}">{}</text><rect class="{}" x="4" y="{}" width="{}" height="10"></rect>',
        rows,
    )
    drawing = format_html(
        '<svg class="usage-chart" role="img" aria-label="{}" viewBox="0 0 {} {}">{}</svg>',
        title,
        _WIDTH,
        max(1, len(labels)) * _ROW,
        body,
    )
    return _chart(title, labels, [series], show, drawing)


def _framed(title: str, labels: Sequence[str], top: str, body: SafeString) -> SafeString:
    middle = (_TOP + _BOTTOM) / 2
    grid = format_html_join(
        "",
        '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"></line>',
        ((_LEFT, _RIGHT, _n(y), _n(y)) for y in (_TOP, middle, _BOTTOM)),
    )
    ends = [(_LEFT, "start", labels[0])] if labels else []
    if len(labels) > 1:
        ends.append((_RIGHT, "end", labels[-1]))
    words = format_html_join("", f'<text x="{{}}" y="{_HEIGHT - 8}" text-anchor="{{}}">{{}}</text>', ends)
    return format_html(
        '<svg class="usage-chart" role="img" aria-label="{}" viewBox="0 0 {} {}">{}'
        '<text x="{}" y="{}">{}</text>{}{}</svg>',
        title,
        _WIDTH,
        _HEIGHT,
        grid,
        _LEFT,
        _TOP - 5,
        top,
        words,
        body,
    )


def _chart(
    title: str, labels: Sequence[str], series: Sequence[Series], show: Show, drawing: SafeString
) -> Chart:
    rows = [
        (label, *("" if each.values[place] is None else show(each.values[place] or 0) for each in series))
        for place, label in enumerate(labels)
    ]
    legend = tuple((each.look, each.name) for each in series)
    return Chart(title, drawing, legend, tuple(each.name for each in series), rows)


def _transposed(series: Sequence[Series]) -> list[list[float]]:
    return [
        [value or 0 for value in column] for column in zip(*(each.values for each in series), strict=True)
    ]


def _ceiling(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, …, above 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1, 2, 5) if step * power >= value), 10 * power)


def _short(label: str) -> str:
    return label if len(label) <= 40 else label[:39] + "…"


def _n(value: float) -> str:
    """A number of the drawing, short."""
    return f"{value:.1f}".rstrip("0").rstrip(".")
