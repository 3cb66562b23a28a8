"""Charts as SVG text, with colours from the page's style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH = 920
N_COLOURS = 8

_ROW = 34
_SHAPES = ("circle", "square", "diamond", "triangle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A value of a method, with its interval.

    Attributes
    ----------
    name
        Of the method.
    colour
        Index of the method in the table.
    value, low, high
        The interval may be None.
    """

    name: str
    colour: int
    value: float
    low: float | None
    high: float | None


def bars(marks: Sequence[Mark], *, label: str, percent: bool) -> str:
    """Horizontal bars from 0, or from the lowest negative value, each with its interval and its value."""
    left, right, top = 250, 205, 12
    height = top + _ROW * len(marks) + 30
    ends = [value for mark in marks for value in (mark.value, mark.low, mark.high) if value is not None]
    scale = _Scale(min(0.0, *ends), max(*ends, 1e-9), left, WIDTH - right)
    parts = [_grid(scale, top, height - 30, percent=percent)]
    for number, mark in enumerate(marks):
        y = top + _ROW * number + _ROW / 2
        start, stop = sorted((scale(0.0), scale(mark.value)))
        parts.append(_text(left - 12, y + 4, _short(mark.name, 33), anchor="end", title=mark.name))
        parts.append(
            f'<rect x="{start:.1f}" y="{y - 9:.1f}" width="{max(stop - start, 1.5):.1f}" height="18" rx="3" '
            f'fill="{_colour(mark.colour)}" fill-opacity=".82"/>'
        )
        parts.append(_whisker(mark, scale, y))
        figure, low, high = (_figure(value, percent=percent) for value in (mark.value, mark.low, mark.high))
        label_text = figure if mark.low is None else f"{figure} [{low}, {high}]"
        parts.append(_text(WIDTH - right + 10, y + 4, label_text, css="soft"))
    values = "; ".join(f"{mark.name}: {_figure(mark.value, percent=percent)}" for mark in marks)
    return _svg(WIDTH, height, f"{label}. {values}", parts)


def reliability(bins: Sequence[Mapping[str, Any]], *, colour: int, label: str) -> str:
    """Share of correct answers against their probability, with intervals; the diagonal is perfect calibration."""
    size, left, top, side = 220, 34, 8, 172
    x, y = _Scale(0, 1, left, left + side), _Scale(0, 1, top + side, top)
    most = max((item["n"] for item in bins), default=1)
    parts = [
        *(f'<line class="grid" x1="{x(0):.1f}" y1="{y(t):.1f}" x2="{x(1):.1f}" y2="{y(t):.1f}"/>' for t in (0, 0.5, 1)),
        *(_text(left - 6, y(t) + 4, f"{t:g}", anchor="end", css="soft") for t in (0, 0.5, 1)),
        *(_text(x(t), top + side + 16, f"{t:g}", anchor="middle", css="soft") for t in (0, 0.5, 1)),
        f'<line class="ideal" x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(1):.1f}" y2="{y(1):.1f}"/>',
    ]
    for item in bins:
        at = x(item["confidence"])
        radius = 2.2 + 4.2 * math.sqrt(item["n"] / most)
        parts.append(
            _vertical(at, y(item["low"]), y(item["high"]), colour)
            + f'<circle cx="{at:.1f}" cy="{y(item["right"]):.1f}" r="{radius:.1f}" fill="{_colour(colour)}">'
            f"<title>probability {item['confidence']:.3f}, correct {item['right']:.3f}, {item['n']:,} answers</title>"
            "</circle>"
        )
    return _svg(size, top + side + 24, label, parts)


def by_bins(
    bins: Sequence[str], counts: Sequence[int], series: Sequence[Sequence[Mark | None]], *, label: str, percent: bool
) -> str:
    """Points with intervals: a group for each bin, a shape and a colour for each method."""
    left, top, bottom, height = 62, 16, 58, 300
    ends = [v for row in series for mark in row if mark for v in (mark.low, mark.high, mark.value) if v is not None]
    top_value = 1.0 if percent else max(*ends, 1e-9)
    y = _Scale(min([0.0, *ends]), top_value, height - bottom, top)
    width = (WIDTH - left - 14) / max(len(bins), 1)
    parts = _rows(y, left, percent=percent)
    for place, (name, count) in enumerate(zip(bins, counts, strict=True)):
        centre = left + width * (place + 0.5)
        parts.append(_text(centre, height - bottom + 20, name, anchor="middle", css="soft"))
        parts.append(_text(centre, height - bottom + 37, f"{count:,}", anchor="middle", css="soft"))
        step = min(14.0, width * 0.8 / max(len(series), 1))
        for number, row in enumerate(series):
            mark = row[place]
            if mark is None:
                continue
            x = centre + step * (number - (len(series) - 1) / 2)
            parts.append(_point(x, y, mark, percent=percent))
    parts.append(_text(left - 8, height - bottom + 37, "rows", anchor="end", css="soft"))
    return _svg(WIDTH, height - 10, label, parts)


def cost(marks: Sequence[Mark], seconds: Sequence[float], *, label: str, percent: bool) -> str:
    """A value against seconds on a logarithmic axis, with the name of each point."""
    left, top, bottom, height = 62, 18, 48, 320
    logs = [math.log10(max(value, 1e-3)) for value in seconds]
    first, last = math.floor(min(logs)), max(math.ceil(max(logs)), math.floor(min(logs)) + 1)
    x = _Scale(first, last, left + 12, WIDTH - 30)
    ends = [v for mark in marks for v in (mark.value, mark.low, mark.high) if v is not None]
    room = (max(ends) - min(ends)) * 0.12 or 0.05
    y = _Scale(min(ends) - room, max(ends) + room, height - bottom, top)
    parts = _rows(y, left, percent=percent)
    for power in range(first, last + 1):
        parts.append(f'<line class="grid" x1="{x(power):.1f}" y1="{top}" x2="{x(power):.1f}" y2="{height - bottom}"/>')
        parts.append(_text(x(power), height - bottom + 18, f"{10.0**power:g}", anchor="middle", css="soft"))
    parts.append(_text((left + WIDTH) / 2, height - 8, "seconds to fit and to predict", anchor="middle", css="soft"))
    labels: list[tuple[float, float, float]] = []
    for mark, log in sorted(zip(marks, logs, strict=True), key=lambda pair: -pair[0].value):
        at, up = x(log), y(mark.value)
        parts.append(_point(at, y, mark, percent=percent, radius=6.0))
        text = _short(mark.name, 30)
        before = at > (left + WIDTH) * 0.62
        start = at - 11 - 7.0 * len(text) if before else at + 11
        spot = _free(labels, start, start + 7.0 * len(text), up, top + 8, height - bottom - 4)
        labels.append((start, start + 7.0 * len(text), spot))
        parts.append(_text(at - 11 if before else at + 11, spot + 4, text, anchor="end" if before else "start"))
    return _svg(WIDTH, height, label, parts)


def _free(
    labels: Sequence[tuple[float, float, float]], start: float, stop: float, y: float, top: float, low: float
) -> float:
    """The height nearest to `y` at which a name overlaps no other."""
    steps = [0.0]
    for number in range(1, 20):
        steps += [number * 8.0, -number * 8.0]
    for step in steps:
        spot = y + step
        if top <= spot <= low and all(
            stop < begin or start > end or abs(spot - other) >= 16 for begin, end, other in labels
        ):
            return spot
    return y


class _Scale:
    """Maps values to coordinates."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self.low, self.high = low, high if high > low else low + 1
        self._start, self._slope = start, (stop - start) / (self.high - low)

    def __call__(self, value: float) -> float:
        return self._start + (value - self.low) * self._slope

    def ticks(self) -> list[float]:
        """Four to eight round numbers."""
        raw = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next((unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw), unit)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def _grid(scale: _Scale, top: float, bottom: float, *, percent: bool) -> str:
    parts = []
    for tick in scale.ticks():
        at = scale(tick)
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{top - 4:.1f}" x2="{at:.1f}" y2="{bottom:.1f}"/>')
        parts.append(_text(at, bottom + 18, _figure(tick, percent=percent, short=True), anchor="middle", css="soft"))
    return "".join(parts)


def _whisker(mark: Mark, scale: _Scale, y: float) -> str:
    if mark.low is None or mark.high is None:
        return ""
    low, high = scale(mark.low), scale(mark.high)
    caps = "".join(
        f'<line class="err" x1="{at:.1f}" y1="{y - 5:.1f}" x2="{at:.1f}" y2="{y + 5:.1f}"/>' for at in (low, high)
    )
    return f'<line class="err" x1="{low:.1f}" y1="{y:.1f}" x2="{high:.1f}" y2="{y:.1f}"/>{caps}'


def _rows(scale: _Scale, left: float, *, percent: bool) -> list[str]:
    """Horizontal grid lines with their values."""
    parts = []
    for tick in scale.ticks():
        y, label = scale(tick), _figure(tick, percent=percent, short=True)
        parts.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{WIDTH - 14}" y2="{y:.1f}"/>')
        parts.append(_text(left - 8, y + 4, label, anchor="end", css="soft"))
    return parts


def _vertical(x: float, low: float, high: float, colour: int) -> str:
    return (
        f'<line stroke="{_colour(colour)}" stroke-width="1.6" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" '
        f'y2="{high:.1f}"/>'
    )


def _point(x: float, scale: _Scale, mark: Mark, *, percent: bool, radius: float = 4.6) -> str:
    """A point with its interval."""
    y = scale(mark.value)
    interval = ""
    if mark.low is not None and mark.high is not None:
        interval = _vertical(x, scale(mark.low), scale(mark.high), mark.colour)
    return interval + _shape(x, y, mark, _figure(mark.value, percent=percent), radius)


def _shape(x: float, y: float, mark: Mark, figure: str, radius: float) -> str:
    title = f"<title>{escape(mark.name)}: {figure}</title>"
    fill = f'fill="{_colour(mark.colour)}"'
    shape = _SHAPES[mark.colour // N_COLOURS % 4] if mark.colour >= N_COLOURS else _SHAPES[mark.colour % 4]
    if shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" {fill}>{title}</circle>'
    corners = {
        "square": ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
        "triangle": ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
    }[shape]
    points = " ".join(f"{x + dx * radius:.1f},{y + dy * radius:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" {fill}>{title}</polygon>'


def _figure(value: float | None, *, percent: bool, short: bool = False) -> str:
    if value is None:
        return "–"
    if percent:
        return f"{100 * value:.3g}%" if short else f"{100 * value:.2f}%"
    return f"{value:.3g}" if short else f"{value:.3f}"


def _colour(number: int) -> str:
    return f"var(--c{number % N_COLOURS})"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _text(x: float, y: float, text: str, *, anchor: str = "start", css: str = "", title: str = "") -> str:
    tooltip = f"<title>{escape(title)}</title>" if title and title != text else ""
    css_class = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{css_class}>{tooltip}{escape(text)}</text>'


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
