# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pause over RAM sizes, of guests whose memory is untouched or filled, for the first capture and for later ones."""

import measured
import plots
import processes
from runner import Run
from tables import Table, median

LATER = 5  # the capture that is "fifth"; those after it are repetitions of it
LIMIT_ADDED, LIMIT_FIRST = 2, 15  # ms

NOTES = '''
pause: from STOP to RESUME by the time stamps of QEMU's events; gap: the longest time between two of the guest's ticks, a
millisecond apart, until the snapshot was sealed, by the host's clock; own gap: by the guest's clock, which stands still
while the guest is stopped; stop, disks, first page, resume: the pause as the library splits it; downtime: as QEMU says, in
whole ms; added: what is left of the pause without downtime, stop and disks; late: from the call to the moment that is
captured; told: to the library saying so; sealed: to everything on the disk. The call is the start of the qsnap command.
'''

TABLES = [Table(
    'pause', 'Pause of a capture (ms)',
    {'qemu': 'QEMU', 'mib': 'MiB', 'memory': 'memory', 'capture': 'capture'},
    {'pause': 'pause', 'gap': 'gap', 'own': 'own gap', 'stop': 'stop', 'disks': 'disks', 'memory': 'first page',
     'resume': 'resume', 'downtime': 'downtime', 'added': 'added', 'late': 'late', 'told': 'told', 'sealed': 'sealed'},
    NOTES)]


def measure(bench, version):
    for mib in bench.options.sizes:
        for memory in ('untouched', 'filled'):
            measure_guests(bench, version, mib, memory)


def measure_guests(bench, version, mib, memory):
    """A guest has its first capture only once. The last guest goes on: what counts as its fifth is all from there on."""
    first, fifth = [], []
    repetitions = bench.options.repetitions
    for number in range(repetitions):
        run = Run(version, 1)
        qemu = measured.boot(run, mib, filled=memory == 'filled')
        first.append(capture(bench, run, qemu))
        if number == repetitions - 1:
            for later in range(2, LATER + repetitions):
                numbers = capture(bench, run, qemu)
                fifth += [numbers] if later >= LATER else []
        qemu.kill()
        processes.clean_up()
    keys = {'qemu': version, 'mib': mib, 'memory': memory}
    bench.results.add('pause', {**keys, 'capture': 'first'}, first)
    bench.results.add('pause', {**keys, 'capture': 'fifth'}, fifth)


def capture(bench, run, qemu):
    return measured.capture(qemu, run.file('snapshot'), bench.options.snapshot_options)


# Targets and plots

def targets(results):
    yield from added_targets(results)
    for row in results.of('pause', qemu='10.0', mib=8192, memory='filled', capture='first'):
        pause = median(row, 'pause')
        yield '10.0, first capture at 8 GiB filled: at most 15 ms', f'{pause:.1f} ms', pause <= LIMIT_FIRST


def added_targets(results):
    for version, captures in (('7.2', ('first', 'fifth')), ('10.0', ('fifth',))):
        rows = [row for row in results.of('pause', qemu=version) if row['capture'] in captures]
        if rows:
            worst = max(rows, key=lambda row: median(row, 'added'))
            added = median(worst, 'added')
            yield (f'{version}, {" and ".join(captures)} capture: at most 2 ms beside QEMU\'s own share, at every size',
                   f'at most {added:.1f} ms ({worst["mib"]} MiB {worst["memory"]}, {worst["capture"]})', added <= LIMIT_ADDED)


def draw(results):
    """A picture for each QEMU: pause over RAM."""
    for version in dict.fromkeys(row['qemu'] for row in results.of('pause')):
        lines = {}
        for row in results.of('pause', qemu=version):
            name = f'{row["memory"]}, {row["capture"]}'
            lines.setdefault(name, []).append((row['mib'], median(row, 'pause'), *spread(row)))
        yield (f'bench-pause-{version}',
               plots.lines(f'Pause of a capture, QEMU {version}', 'MiB of RAM', 'ms', lines, log_x=True))


def spread(row):
    return min(row['samples']['pause']), max(row['samples']['pause'])
