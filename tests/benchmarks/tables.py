# SPDX-License-Identifier: LGPL-2.1-or-later
"""What was measured: rows of samples in tables, as text, as JSON and in Markdown."""

import dataclasses
import statistics

NARROW, MIDDLE, WIDE = 10, 18, 26  # columns of characters


@dataclasses.dataclass(frozen=True)
class Table:
    """Its keys say what a row is of; its columns have samples."""
    name: str
    title: str
    keys: dict       # name: heading
    columns: dict    # name: heading
    notes: str = ''  # what the columns mean

    def headings(self):
        return [*self.keys.values(), *self.columns.values()]


def number(value):
    """Three digits that matter."""
    if abs(value) >= 100:
        return f'{value:.0f}'
    return f'{value:.1f}' if abs(value) >= 1 else f'{value:.2f}'


def numbers(row, column):
    """Those of its samples that could be taken."""
    return [value for value in row['samples'].get(column, []) if value is not None]


def median(row, column):
    values = numbers(row, column)
    return statistics.median(values) if values else None


def summary(row, column):
    """Median (least-most)."""
    values = numbers(row, column)
    if not values:
        return '-'
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f'{middle} ({number(min(values))}-{number(max(values))})'


def cells(table, row):
    return [str(row.get(key, '-')) for key in table.keys] + [summary(row, column) for column in table.columns]


def merge(samples):
    """Dicts of numbers, one an attempt, to one dict of lists."""
    names = dict.fromkeys(name for attempt in samples for name in attempt)
    return {name: [attempt.get(name) for attempt in samples] for name in names}


class Results:
    """Prints each row as soon as it is there, and keeps it."""

    def __init__(self, tables):
        self._tables = {table.name: table for table in tables}
        self._last = None
        self.rows = []

    def add(self, name, keys, samples):
        """Samples: dicts of numbers, one an attempt; of them, those that the table has."""
        table, merged = self._tables[name], merge(samples)
        row = {'table': name, **keys, 'samples': {column: merged[column] for column in table.columns if column in merged}}
        self.rows.append(row)
        self._print(table, row)

    def of(self, name, **keys):
        return [row for row in self.rows if row['table'] == name and keys.items() <= row.items()]

    def _print(self, table, row):
        headings, line = table.headings(), cells(table, row)
        widths = [WIDE if key in ('method', 'what', 'capture') else NARROW for key in table.keys] + [MIDDLE] * len(table.columns)
        if self._last != table.name:
            print(f'\n{table.title}\n' + '  '.join(text.ljust(width) for text, width in zip(headings, widths)))
        self._last = table.name
        print('  '.join(text.ljust(width) for text, width in zip(line, widths)), flush=True)


def to_markdown(table, rows):
    headings = table.headings()
    lines = ['| ' + ' | '.join(headings) + ' |', '|' + '---|' * len(headings)]
    return '\n'.join(lines + ['| ' + ' | '.join(cells(table, row)) + ' |' for row in rows]) + '\n'
