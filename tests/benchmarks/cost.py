# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the library itself costs, against a QEMU that costs nothing: round-trips, a program, does the measuring."""

import json
import math
import os
import subprocess

import plots
import qsnapcmd
from tables import Table, median, numbers

ROUND_TRIPS = 10_000  # a second
POWER = 1.4           # of growth: 1 is linear, 2 quadratic

TABLES = [
    Table('cost', 'The library by itself', {'what': 'what'}, {'value': 'value'},
          'Against the mock QEMU of the unit tests, in a process of its own.'),
    Table('growth', 'CPU of a capture as it grows', {'of': 'of', 'number': 'number'},
          {'cpu': 'library CPU ms', 'each': 'CPU us each', 'saver': 'saver CPU ms', 'elapsed': 'elapsed ms'},
          'Captures of the mock QEMU. each: what one more costs, beside the first of its kind.')]


def program():
    """Where meson put it, beside the command."""
    return os.environ.get('QSNAP_ROUND_TRIPS') or os.path.join(os.path.dirname(os.path.dirname(qsnapcmd.command())),
                                                               'tests', 'benchmarks', 'round-trips')


def run_program(*arguments):
    done = subprocess.run([program(), *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return json.loads(done.stdout)


def measure(bench):
    repetitions = bench.options.repetitions
    for what, arguments, member in (('QMP round trips a second', ['calls', 20000], 'per-second'),
                                    ('events a second', ['events', 50000], 'per-second'),
                                    ('KiB of a session, of 100', ['sessions', 100], 'kib-each')):
        samples = [{'value': run_program(*arguments)[member]} for _ in range(repetitions)]
        bench.results.add('cost', {'what': what}, samples)
    for kind, steps in (('disks', (1, 8, 32, 64)), ('events', (0, 1000, 10000, 40000)), ('MiB of RAM', (64, 512, 2048, 4096))):
        measure_growth(bench, kind, steps, repetitions)


def measure_growth(bench, kind, steps, repetitions):
    base = None
    for number in steps:
        samples = [capture(kind, number) for _ in range(repetitions)]
        least = min(sample['cpu'] for sample in samples)
        base = base or (number, least)
        if number > base[0]:
            for sample in samples:
                sample['each'] = (sample['cpu'] - base[1]) * 1000 / (number - base[0])
        bench.results.add('growth', {'of': kind, 'number': number}, samples)


def capture(kind, number):
    drives, events, mib = {'disks': (number, 0, 4), 'events': (1, number, 4), 'MiB of RAM': (1, 0, number)}[kind]
    answer = run_program('capture', drives, events, mib)
    return {'cpu': answer['cpu-ms'], 'saver': answer['saver-ms'], 'elapsed': answer['elapsed-ms']}


# Targets and plots

def targets(results):
    for row in results.of('cost', what='QMP round trips a second'):
        yield 'at least 10 000 QMP round trips a second', f'{median(row, "value"):.0f}', median(row, 'value') >= ROUND_TRIPS
    for kind, column in (('disks', 'cpu'), ('events', 'cpu'), ('MiB of RAM', 'saver')):
        rows = results.of('growth', of=kind)
        if len(rows) > 2:
            yield linear_target(kind, column, rows)


def linear_target(kind, column, rows):
    """By the last two rows, and the least of each: what else the machine does only adds."""
    low, high = rows[-2:]
    least = [min(numbers(row, column)) for row in (low, high)]
    power = math.log(least[1] / least[0]) / math.log(high['number'] / low['number'])
    return (f'nothing in a capture is quadratic in {kind}',
            f'CPU as the power {power:.2f} of them, from {low["number"]} to {high["number"]}', power <= POWER)


def draw(results):
    rows = results.of('growth', of='disks')
    if rows:
        yield 'bench-disks', plots.lines('CPU of a capture over its disks', 'disks', 'ms',
                                         {'library': [(row['number'], median(row, 'cpu')) for row in rows]})
