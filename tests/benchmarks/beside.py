# SPDX-License-Identifier: LGPL-2.1-or-later
"""The library beside what people use today, on guests of the same kind: filled, with one qcow2 image, and writing to their
memory."""

import functools
import os

import by_hand
import harness
import measured
import others
import plots
import processes
from runner import Run
from tables import Table, median

LIBRARY, SCRIPT = 'libqsnap', 'by hand'
SHORTER_FIRST, SHORTER_LATER = 5, 2.5

NOTES = '''
Columns as above; late: how long after the call the moment is that the snapshot holds. by hand: the script below, which QEMU
offers to anybody; savevm, snapshot-save: inside the qcow2 image; stop, migrate: what libvirt does without --live, with
QEMU's default max-bandwidth of 128 MiB/s and with none; precopy: what libvirt does with --live. All streams are written
into files and synced.
'''

TABLES = [Table(
    'beside', 'Beside what people use today (ms)',
    {'qemu': 'QEMU', 'mib': 'MiB', 'method': 'method', 'capture': 'capture'},
    {'pause': 'pause', 'gap': 'gap', 'own': 'own gap', 'late': 'late', 'sealed': 'sealed', 'downtime': 'downtime',
     'added': 'added'},
    NOTES)]


def measure(bench, version):
    mib = bench.options.size
    instant = {LIBRARY: functools.partial(capture_by_library, bench), SCRIPT: capture_by_hand}
    measure_instant(bench, version, mib, instant)
    measure_internal_and_migrations(bench, version, mib)
    measure_libvirt(bench, version, mib)


def boot(bench, run):
    return measured.boot(run, bench.options.size, dirty=bench.options.dirty, disks=run.disks(1, 'qcow2'))


def capture_by_library(bench, run, qemu):
    return measured.capture(qemu, run.file('snapshot'), bench.options.snapshot_options)


def capture_by_hand(run, qemu):
    return {**watched(qemu, lambda: by_hand.capture(qemu, run.folder)), 'downtime': qemu.migration()['downtime']}


def watched(qemu, action):
    watch = measured.Watch(qemu)
    action()
    return watch.end()


def measure_instant(bench, version, mib, methods):
    """In turns. A guest has its first capture only once; the last guest of each goes on."""
    first = {name: [] for name in methods}
    later = {name: [] for name in methods}
    for number in range(bench.options.repetitions):
        for name, capture in methods.items():
            run = Run(version, 1)
            qemu = boot(bench, run)
            first[name].append(capture(run, qemu))
            if number == bench.options.repetitions - 1:
                later[name] += [capture(run, qemu) for _ in range(bench.options.repetitions)]
            qemu.kill()
            processes.clean_up()
    for name in methods:
        keys = {'qemu': version, 'mib': mib, 'method': name}
        bench.results.add('beside', {**keys, 'capture': 'first'}, first[name])
        bench.results.add('beside', {**keys, 'capture': 'later'}, later[name])


def measure_internal_and_migrations(bench, version, mib):
    """None of them leaves a trace in a guest's memory: one guest for all."""
    run = Run(version, 1)
    qemu = boot(bench, run)
    for name, take in others.METHODS.items():
        samples = []
        for _ in range(bench.options.repetitions):
            samples.append(watched(qemu, functools.partial(take, qemu, run.folder)))
            if name in others.INTERNAL:
                others.delete_internal(qemu)
        bench.results.add('beside', {'qemu': version, 'mib': mib, 'method': name, 'capture': 'any'}, samples)
    qemu.kill()
    processes.clean_up()


def measure_libvirt(bench, version, mib):
    run = Run(version, 1)
    try:
        domain, qemu = others.boot_libvirt(run, mib)
    except harness.Skip as reason:
        print(f'libvirt on {version}: skipped, {reason}')
        return
    measured.settle(qemu, mib, dirty=bench.options.dirty)
    for name, live in others.LIBVIRT.items():
        samples = []
        for _ in range(bench.options.repetitions):
            take = functools.partial(others.libvirt, domain, qemu, run.folder, live)
            samples.append(watched(qemu, take))
            remove_memories(run.folder)
        bench.results.add('beside', {'qemu': version, 'mib': mib, 'method': name, 'capture': 'any'}, samples)
    qemu.kill()
    processes.clean_up()


def remove_memories(folder):
    for name in os.listdir(folder):
        if name.endswith('.memory'):
            os.unlink(os.path.join(folder, name))


# Targets and plots

def pause_of(results, version, method, capture):
    rows = results.of('beside', qemu=version, method=method, capture=capture)
    return median(rows[0], 'pause') if rows else None


def targets(results):
    for version, capture, shorter in (('7.2', 'first', SHORTER_FIRST), ('7.2', 'later', SHORTER_LATER),
                                      ('10.0', 'first', SHORTER_FIRST), ('10.0', 'later', 1)):
        library, script = (pause_of(results, version, name, capture) for name in (LIBRARY, SCRIPT))
        if library is None:
            continue
        wanted = f'at least {shorter} times shorter than' if shorter > 1 else 'never longer than'
        yield (f'{version}, {capture} capture, {results.of("beside")[0]["mib"]} MiB filled: {wanted} by hand',
               f'{library:.1f} beside {script:.1f} ms, {script / library:.1f} times', script / library >= shorter)


def draw(results):
    for version in dict.fromkeys(row['qemu'] for row in results.of('beside')):
        bars = {}
        for row in results.of('beside', qemu=version):
            name = row['method'] + (f', {row["capture"]}' if row['capture'] != 'any' else '')
            bars[name] = {'pause': median(row, 'pause'), 'gap': median(row, 'gap'), 'late': median(row, 'late')}
        mib = results.of('beside')[0]['mib']
        yield (f'bench-beside-{version}',
               plots.bars(f'Guest of {mib} MiB, QEMU {version}', 'ms, each line ten times the one before', bars))
