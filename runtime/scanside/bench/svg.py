"""Plots as SVG text: pure functions, no library, no network."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Series", "bars", "plot", "ticks"]

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 12, 14, 46
_MOST_POINTS: Final = 3000
"""Marks of one series: more are indistinguishable on the page and make it heavy."""


class Series(NamedTuple):
    """Points of one colour.

    Attributes
    ----------
    name
        In the legend.
    colour
        As in CSS.
    x, y
        The points.
    joined
        A line through the points instead of dots.
    dashed
        Whether the line is dashed.
    """

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    joined: bool = False
    dashed: bool = False


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers between two ends: steps of 1, 2 or 5 times a power of ten.

    At most one more than are wanted. A step is up to 2.5 times the wanted one, so that some are
    sure to lie between the ends from three wanted on.
    """
    if not high > low:
        return [low]
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def plot(
    series: Sequence[Series],
    labels: tuple[str, str],
    *,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
) -> str:
    """Draw dots or lines in a frame with ticks and a legend.

    Parameters
    ----------
    series
        What to draw, the first below the others.
    labels
        Of the horizontal and the vertical axis.
    x_range, y_range
        Ends of the axes; dots beyond them are drawn at the edge.
    """
    frame = _Frame(x_range, y_range)
    parts = [_open(_HEIGHT, f"{labels[1]} against {labels[0]}"), *frame.draw(labels)]
    parts += [_draw(each, frame) for each in series]
    parts += _legend([(each.name, each.colour) for each in series])
    return "".join(parts) + "</svg>"


def bars(rows: Sequence[tuple[str, Sequence[float]]], names: Sequence[tuple[str, str]]) -> str:
    """Draw stacked horizontal bars.

    Parameters
    ----------
    rows
        Title of each bar and its parts, in milliseconds.
    names
        Name and colour of each part.
    """
    longest = max((sum(parts) for _, parts in rows), default=0.0) or 1.0
    height = 40 * len(rows) + _BOTTOM + _TOP + 16
    left, room = 90, _WIDTH - 90 - 90
    drawn = [_open(height, "mean milliseconds by stage")]
    for number, (title, parts) in enumerate(rows):
        y, x = _TOP + 26 + 40 * number, float(left)
        drawn.append(_text(left - 8, y + 17, title, "end"))
        for (name, colour), part in zip(names, parts, strict=True):
            width = part / longest * room
            drawn.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="24" fill="{colour}">'
                f"<title>{escape(name)}: {part:.3f} ms</title></rect>"
            )
            x += width
        drawn.append(_text(x + 6, y + 17, f"{sum(parts):.2f} ms", "start"))
    drawn += _legend(names)
    return "".join(drawn) + "</svg>"


class _Frame:
    """The frame of a plot, and the way from values to places."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self.x_range, self.y_range = x_range, y_range
        self.right, self.bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(self, value: float) -> float:
        return _LEFT + _share(value, self.x_range) * (self.right - _LEFT)

    def y(self, value: float) -> float:
        top = _TOP + 16
        return self.bottom - _share(value, self.y_range) * (self.bottom - top)

    def draw(self, labels: tuple[str, str]) -> Iterator[str]:
        for value in ticks(*self.x_range, 8):
            yield _line((self.x(value), self.y(self.y_range[1])), (self.x(value), self.bottom))
            yield _text(self.x(value), self.bottom + 17, f"{value:g}", "middle")
        for value in ticks(*self.y_range):
            yield _line((_LEFT, self.y(value)), (self.right, self.y(value)))
            yield _text(_LEFT - 6, self.y(value) + 4, f"{value:g}", "end")
        yield _text((_LEFT + self.right) / 2, _HEIGHT - 8, labels[0], "middle")
        middle = (self.bottom + _TOP) / 2
        yield (
            f'<text x="14" y="{middle:.0f}" text-anchor="middle"'
            f' transform="rotate(-90 14 {middle:.0f})">{escape(labels[1])}</text>'
        )


def _draw(series: Series, frame: _Frame) -> str:
    step = max(1, math.ceil(len(series.x) / _MOST_POINTS))
    pairs = zip(series.x[::step], series.y[::step], strict=True)
    points = [(frame.x(x), frame.y(y)) for x, y in pairs]
    if series.joined:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dashes = ' stroke-dasharray="5 4"' if series.dashed else ""
        return (
            f'<polyline points="{path}" fill="none" stroke="{series.colour}"'
            f' stroke-width="1.8"{dashes}/>'
        )
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2"/>' for x, y in points)
    return f'<g fill="{series.colour}" fill-opacity="0.6">{dots}</g>'


def _legend(names: Iterable[tuple[str, str]]) -> list[str]:
    drawn, x = [], float(_LEFT)
    for name, colour in names:
        drawn.append(f'<rect x="{x:.0f}" y="6" width="11" height="11" fill="{colour}"/>')
        drawn.append(_text(x + 16, 16, name, "start"))
        x += 30 + 7.2 * len(name)
    return drawn


def _share(value: float, ends: tuple[float, float]) -> float:
    span = ends[1] - ends[0]
    return min(1.0, max(0.0, (value - ends[0]) / span)) if span > 0 else 0.5


def _open(height: int, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}"'
        ' xmlns="http://www.w3.org/2000/svg">'
    )


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"'
        ' stroke="#dde3e8"/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
