# SPDX-License-Identifier: LGPL-2.1-or-later
"""docs/results.md, from what one or several runs have written."""

import inspect
import json
import os
import sys

import by_hand
import harness
from tables import Results, to_markdown

PROJECT = os.path.dirname(harness.TESTS)
PAGE = os.path.join(PROJECT, 'docs', 'results.md')
PICTURES = os.path.join(PROJECT, 'docs', 'pictures')

HEAD = '''# Measured

Made by `tests/benchmarks/bench page`; change nothing here by hand. Times in milliseconds unless it says otherwise: median
(least-most). Each table was measured in one run, on guests of the same kind. No test asserts a time: a run says PASS or MISS.

To repeat it, on a machine that does nothing else:

    ninja -C _build
    meson devenv -C _build ../tests/benchmarks/bench --output first
    meson devenv -C _build ../tests/benchmarks/bench --output second
    tests/benchmarks/bench page _build/first/bench.json _build/second/bench.json

It took {minutes}. There is no KVM here: guests run under TCG, on the processors that QEMU's own threads need as well.

'''


def load(path):
    """(what the file says, its results)"""
    with open(path, encoding='utf-8') as file:
        run = json.load(file)
    results = Results([])
    results.rows = run['rows']
    return run, results


def verdicts(parts, results):
    return [verdict for part in parts.values() for verdict in part.targets(results)]


def write_plots(parts, results, folder):
    """Their names."""
    names = []
    for part in parts.values():
        for name, picture in part.draw(results):
            names.append(name)
            with open(os.path.join(folder, f'{name}.svg'), 'w', encoding='utf-8') as file:
                file.write(picture)
    return names


# The page

def machine(runs):
    lines = ['## The machine\n', '| | ' + ' | '.join(ordinal(number) for number in range(len(runs))) + ' |',
             '|---|' + '---|' * len(runs), '| date | ' + ' | '.join(run['date'] for run in runs) + ' |']
    for name in runs[0]['machine']:
        lines.append(f'| {name} | ' + ' | '.join(str(run['machine'].get(name, '-')) for run in runs) + ' |')
    lines.append('| options | ' + ' | '.join(options(run) for run in runs) + ' |')
    return '\n'.join(lines) + '\n\n'


def options(run):
    given = run['options']
    return ' '.join([f'{given["repetitions"]} repetitions', *given['snapshot_options']])


def ordinal(number):
    return f'run {number + 1}'


def targets(parts, every):
    """Those of all runs beside each other."""
    found = [{text: (verdict, passed) for text, verdict, passed in verdicts(parts, results)} for results in every]
    lines = ['## Targets\n', '| target | ' + ' | '.join(ordinal(number) for number in range(len(every))) + ' |',
             '|---|' + '---|' * len(every)]
    for text in dict.fromkeys(text for one in found for text in one):
        cells = [f'**{"PASS" if one[text][1] else "MISS"}** {one[text][0]}' if text in one else '-' for one in found]
        lines.append(f'| {text} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n\n'


def section(table, every):
    text = f'## {table.title}\n\n{table.notes.strip()}\n\n'
    for number, results in enumerate(every):
        rows = results.of(table.name)
        if rows:
            text += f'{ordinal(number).capitalize()}:\n\n{to_markdown(table, rows)}\n'
    return text


def script():
    """The rival, as it is."""
    return ('## The script by hand\n\nIts QMP: `stop`, `blockdev-snapshot-sync`, `getfd`, `migrate`, wait, `cont`. '
            f'All of it is in `tests/benchmarks/by_hand.py`:\n\n```python\n{inspect.getsource(by_hand.capture)}```\n\n')


def write(parts, paths):
    if not paths:
        sys.exit('bench page FILE...')
    loaded = [load(path) for path in paths]
    runs, every = [run for run, _ in loaded], [results for _, results in loaded]
    pictures = write_plots(parts, every[-1], PICTURES)
    minutes = ' and '.join(f'{sum(run["seconds"].values()) / 60:.0f}' for run in runs) + ' minutes'
    text = HEAD.format(minutes=minutes) + machine(runs) + targets(parts, every)
    for name, part in parts.items():
        tables = [table for table in part.TABLES if any(results.of(table.name) for results in every)]
        text += ''.join(section(table, every) for table in tables)
        text += ''.join(f'![{picture}](pictures/{picture}.svg)\n\n' for picture in pictures
                        if picture in dict(part.draw(every[-1])))
        text += script() if name == 'beside' and tables else ''
    with open(PAGE, 'w', encoding='utf-8') as file:
        file.write(text.rstrip('\n') + '\n')
    print(f'{PAGE}, {len(pictures)} plots')
