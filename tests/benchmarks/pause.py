# SPDX-License-Identifier: LGPL-2.1-or-later
"""The pause over RAM sizes, of guests whose memory is untouched or filled, for the first capture and for later ones."""

import measured
import plots
import processes
import qsnapcmd
from runner import Run
from tables import Table, median

LATER = 5  # the capture that is "fifth"; those after it are repetitions of it
HUGE_PAGES = '--huge-pages'
LIMIT_ADDED, LIMIT_FIRST, LIMIT_HUGE_PAGES = 2, 15, 20  # ms

NOTES = '''
pause: from STOP to RESUME by the time stamps of QEMU's events; gap: the longest time between two of the guest's ticks, a
millisecond apart, until the snapshot was sealed, by the host's clock; own gap: by the guest's clock, which stands still
while the guest is stopped; stop, disks, first page, resume: the pause as the library splits it; downtime: as QEMU says, in
whole ms; added: what is left of the pause without downtime, stop and disks; late: from the call to the moment that is
captured; told: to the library saying so; sealed: to everything on the disk. The call is the start of the qsnap command.
predicted: the pause that the check said before, which knew of no earlier capture of this guest. With --huge-pages each of
the five captures gave the guest its huge pages back; gap and sealed then go on until that is done, after the seal.
'''

TABLES = [Table(
    'pause', 'Pause of a capture (ms)',
    {'qemu': 'QEMU', 'mib': 'MiB', 'memory': 'memory', 'capture': 'capture'},
    {'pause': 'pause', 'predicted': 'predicted', 'gap': 'gap', 'own': 'own gap', 'stop': 'stop', 'disks': 'disks',
     'memory': 'first page', 'resume': 'resume', 'downtime': 'downtime', 'added': 'added', 'late': 'late', 'told': 'told', 'sealed': 'sealed'},
    NOTES)]


def measure(bench, version):
    for mib in bench.options.sizes:
        for memory in ('untouched', 'filled'):
            measure_guests(bench, version, mib, memory)


def measure_guests(bench, version, mib, memory):
    """A guest has its first capture only once. The last guest goes on."""
    first, fifth = [], []
    repetitions = bench.options.repetitions
    for number in range(repetitions):
        run = Run(version, 1)
        qemu = measured.boot(run, mib, filled=memory == 'filled')
        first.append(capture(bench, run, qemu))
        if number == repetitions - 1:
            fifth = later_captures(bench, run, qemu)
        qemu.kill()
        processes.clean_up()
    keys = {'qemu': version, 'mib': mib, 'memory': memory}
    bench.results.add('pause', {**keys, 'capture': 'first'}, first)
    bench.results.add('pause', {**keys, 'capture': 'fifth'}, fifth)
    if memory == 'filled':
        bench.results.add('pause', {**keys, 'capture': f'fifth {HUGE_PAGES}'}, with_huge_pages(bench, version, mib))


def later_captures(bench, run, qemu, *options):
    """Of a guest that had its first: what counts as its fifth is all from there on."""
    every = [capture(bench, run, qemu, *options) for _ in range(2, LATER + bench.options.repetitions)]
    return every[LATER - 2:]


def with_huge_pages(bench, version, mib):
    """A guest that gets its huge pages back after each capture."""
    run = Run(version, 1)
    qemu = measured.boot(run, mib)
    capture(bench, run, qemu, HUGE_PAGES)
    fifth = later_captures(bench, run, qemu, HUGE_PAGES)
    qemu.kill()
    processes.clean_up()
    return fifth


def capture(bench, run, qemu, *options):
    directory, options = run.file('snapshot'), [*bench.options.snapshot_options, *options]
    predicted = qsnapcmd.check(qemu.qmp_path, directory, *options)['predicted-pause-us']
    return {**measured.capture(qemu, directory, options), 'predicted': predicted and predicted / 1000}


# Targets and plots

def targets(results):
    yield from added_targets(results)
    for row in results.of('pause', qemu='10.0', mib=8192, memory='filled', capture='first'):
        pause = median(row, 'pause')
        yield '10.0, first capture at 8 GiB filled: at most 15 ms', f'{pause:.1f} ms', pause <= LIMIT_FIRST
    for row in results.of('pause', mib=8192, capture=f'fifth {HUGE_PAGES}'):
        pause = median(row, 'pause')
        yield (f'{row["qemu"]}, fifth capture at 8 GiB filled, {HUGE_PAGES}: at most 20 ms', f'{pause:.1f} ms',
               pause <= LIMIT_HUGE_PAGES)


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
