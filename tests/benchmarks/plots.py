# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small SVG plots: lines over numbers, and bars on a logarithmic axis."""

import math
from xml.sax.saxutils import escape

INK, QUIET, GRID = '#1f2933', '#5f6c7b', '#d5dbe1'
COLORS = ('#2563eb', '#d97706', '#059669', '#dc2626', '#7c3aed', '#0891b2')
WIDTH, LEFT, RIGHT, TOP = 860, 70, 200, 50

HEAD = '''<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"
     font-family="DejaVu Sans, Verdana, sans-serif" font-size="12" fill="{ink}">
<title>{title}</title>
<rect width="{width}" height="{height}" fill="#ffffff"/>
'''


class Plot:
    def __init__(self, title, height):
        self.height = height
        self._parts = [HEAD.format(title=escape(title), width=WIDTH, height=height, ink=INK)]
        self.text(WIDTH / 2, 26, title, 'middle', INK, 15)

    def text(self, x, y, text, anchor='start', color=QUIET, size=12):
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" font-size="{size}">'
                           f'{escape(text)}</text>\n')

    def line(self, points, color, width=1.0, opacity=1.0):
        path = ' L'.join(f'{x:.1f},{y:.1f}' for x, y in points)
        self._parts.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="{width}" '
                           f'stroke-opacity="{opacity}"/>\n')

    def dot(self, x, y, color):
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>\n')

    def box(self, x, y, width, height, color):
        self._parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:.1f}" '
                           f'fill="{color}"/>\n')

    def key(self, number, name, color):
        y = TOP + 14 + 20 * number
        self.box(WIDTH - RIGHT + 16, y - 9, 12, 10, color)
        self.text(WIDTH - RIGHT + 34, y, name, color=INK)

    def drawn(self):
        return ''.join(self._parts) + '</svg>\n'


def round_up(value):
    """To 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(max(value, 0.001)))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value * 0.999)


def label(value):
    return f'{value:g}'


class Axes:
    """Where a pair of numbers is on a plot."""

    def __init__(self, plot, xs, top, log_x):
        self._bottom = plot.height - 56
        self._top = top
        self._to_x = math.log2 if log_x else float
        marks = xs if log_x else [max(xs) * step / 4 for step in range(5)]
        self._low, self._high = self._to_x(marks[0]), self._to_x(marks[-1])
        self._draw(plot, marks)

    def at(self, x, y):
        across = (self._to_x(x) - self._low) / (self._high - self._low) if self._high > self._low else 0.5
        return LEFT + 20 + across * (WIDTH - LEFT - RIGHT - 40), self._bottom - y / self._top * (self._bottom - TOP)

    def _draw(self, plot, marks):
        for step in range(6):
            value = self._top * step / 5
            y = self.at(self._middle(marks), value)[1]
            plot.line([(LEFT, y), (WIDTH - RIGHT, y)], GRID)
            plot.text(LEFT - 8, y + 4, label(value), 'end')
        for value in marks:
            plot.text(self.at(value, 0)[0], self._bottom + 20, label(round(value, 1)), 'middle')

    @staticmethod
    def _middle(marks):
        return marks[len(marks) // 2]


def lines(title, across, up, series, log_x=False):
    """Series: name → [(x, y)] or, with the spread, [(x, y, least, most)]."""
    plot = Plot(title, 420)
    points = [point for one in series.values() for point in one]
    axes = Axes(plot, sorted({point[0] for point in points}), round_up(max(max(point[1:]) for point in points)), log_x)
    plot.text((WIDTH - RIGHT + LEFT) / 2, plot.height - 14, across, 'middle')
    plot.text(LEFT - 8, TOP - 12, up, 'end')
    for index, (name, one) in enumerate(series.items()):
        color = COLORS[index % len(COLORS)]
        for point in one:
            if len(point) > 2:
                plot.line([axes.at(point[0], point[2]), axes.at(point[0], point[3])], color, 5, 0.25)
        plot.line([axes.at(*point[:2]) for point in sorted(one)], color, 2)
        if len(one) < 20:
            for point in one:
                plot.dot(*axes.at(*point[:2]), color)
        plot.key(index, name, color)
    return plot.drawn()


def bars(title, across, groups):
    """Groups: name → {bar: value}, on a logarithmic axis from left to right."""
    names = list(next(iter(groups.values())))
    values = [value for group in groups.values() for value in group.values() if value]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 0.01)
    step, left = 14 * len(names) + 12, LEFT + 120
    plot = Plot(title, TOP + step * len(groups) + 60)
    bottom = TOP + step * len(groups)

    def at(value):
        return left + (math.log10(value) - low) / (high - low) * (WIDTH - RIGHT - left)

    for power in range(low, high + 1):
        plot.line([(at(10.0 ** power), TOP), (at(10.0 ** power), bottom)], GRID)
        plot.text(at(10.0 ** power), bottom + 18, label(10.0 ** power), 'middle')
    plot.text((left + WIDTH - RIGHT) / 2, bottom + 42, across, 'middle')
    for number, (name, group) in enumerate(groups.items()):
        y = TOP + step * number + 6
        plot.text(left - 8, y + 7 * len(names) + 4, name, 'end', INK)
        for index, (bar, value) in enumerate(group.items()):
            if value:
                plot.box(left, y + 14 * index, at(max(value, 10.0 ** low)) - left, 11, COLORS[index])
                plot.text(at(max(value, 10.0 ** low)) + 5, y + 14 * index + 10, label(round(value, 1)), size=10)
    for index, name in enumerate(names):
        plot.key(index, name, COLORS[index])
    return plot.drawn()
