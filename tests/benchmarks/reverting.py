# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long until a guest is back? `qsnap revert` by each method, beside a stock QEMU that loads the same memory as a plain
migration stream; how fast the guest is in its first minute; and what clones share.

Needs disk space for three times the largest guest, and its RAM twice."""

import os
import time

import harness
import measured
import plots
import processes
import qsnapcmd
import reverts
from captures import Capturer
from runner import Run
from tables import Table, median

CLONES = 4
METHODS = {'map': 'map', 'demand': 'on-demand', 'load': 'load'}  # name in the tables: of qsnap
FIRST_SECONDS = 5

NOTES = '''
start: from the call to QEMU's monitor; load: from there until the guest runs (a stock QEMU begins to load before its
monitor is there); running: from the call until the guest runs; life: to its first answer on a serial port; settled: on
demand, from when it runs until it has all of its memory (read: the same files, read from begin to end); requests: for how
many pages it waited; tick: its longest gap between two ticks in its first seconds; work: what it dirties meanwhile, of as
much as it can.
'''

TABLES = [
    Table('revert', 'Until a guest is back',
          {'qemu': 'QEMU', 'mib': 'MiB', 'method': 'method', 'cache': 'cache'},
          {'start': 'start ms', 'load': 'load ms', 'running': 'running ms', 'life': 'life ms', 'settled': 'settled ms',
           'requests': 'requests', 'tick': 'tick ms', 'work': 'work MiB/s'},
          NOTES),
    Table('minute', 'A guest\'s speed after a revert, with a cold cache',
          {'qemu': 'QEMU', 'mib': 'MiB', 'method': 'method'},
          {'first': 'first 5 s, MiB/s', 'all': 'all of it, MiB/s', 'tick': 'tick ms', 'seconds': 'seconds'},
          'What a guest dirties that writes to random pages as fast as it can.'),
    Table('clones', 'Memory of four clones (MiB)',
          {'qemu': 'QEMU', 'mib': 'MiB', 'method': 'method'},
          {'rss': 'RSS', 'pss': 'PSS', 'all': 'PSS of all', 'data': 'data'},
          'Of each clone, some seconds after it came back; data: what the snapshot holds of memory.')]


def measure(bench, version):
    for mib in bench.options.revert_sizes:
        run = Run(version, 1)
        qemu, captured = captured_guest(run, mib)
        measure_methods(bench, run, qemu, captured)
        if bench.options.minute > 0:
            measure_minute(bench, run, qemu, captured)
        measure_clones(bench, qemu, captured)
        processes.clean_up()


def mib_of(qemu):
    return int(qemu.hardware.memory.removesuffix('M'))


def captured_guest(run, mib):
    """A guest with that much memory, of which a part has been written; it is gone afterwards."""
    qemu = measured.boot(run, mib, dirty='max')
    captured = Capturer(run, qemu).capture()
    qemu.kill()
    return qemu, captured


# The page cache

def drop_from_cache(paths):
    """Of these files only: nothing else on the machine gets slower."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        os.fdatasync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def read_into_cache(paths):
    """Not the holes: they would fill the cache with zeros."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        position, size = 0, os.fstat(file).st_size
        while position < size and (position := next_data(file, position)) is not None:
            position += len(os.pread(file, 1 << 20, position))
        os.close(file)


def next_data(file, position):
    try:
        return os.lseek(file, position, os.SEEK_DATA)
    except OSError:
        return None


# Times

def since(start):
    return (time.monotonic() - start) * 1000


def first_seconds(guest, seconds):
    """What a guest does that has just come back; what it was captured with does not count."""
    guest.guest('gap')
    before, start = guest.guest('status')['dirtied'], time.monotonic()
    time.sleep(seconds)
    dirtied = guest.guest('status')['dirtied'] - before
    return {'tick': guest.guest('gap')['maxgap'] / 1000, 'work': dirtied / 256 / (time.monotonic() - start)}


def time_revert(qemu, captured, method, seconds):
    start = time.monotonic()
    reverted = reverts.revert(qemu, captured, method=method)
    times = {'running': since(start)}
    reverted.guest('status')
    times['life'] = since(start)
    times |= {'start': reverted.answer['start-us'] / 1000, 'load': reverted.answer['load-us'] / 1000}
    times |= first_seconds(reverted, seconds)
    reverted.assert_alive()
    reverted.kill()
    return times


def time_settling(qemu, captured):
    """Of an on-demand revert; the command waits for it."""
    reverted = reverts.revert(qemu, captured, '--wait', method='on-demand')
    times = {'settled': reverted.answer['settle-us'] / 1000, 'requests': reverted.answer['page-requests']}
    reverted.assert_alive()
    reverted.kill()
    return times


def time_reading(files):
    start = time.monotonic()
    read_into_cache(files)
    return {'settled': since(start)}


def time_on_demand(qemu, captured, seconds, prepare):
    times = time_revert(qemu, captured, 'on-demand', seconds)
    prepare()
    return times | time_settling(qemu, captured)


def start_stock(qemu, captured, stream):
    """(the QEMU, ms until its monitor was there)"""
    folder = processes.temporary_folder()
    start = time.monotonic()
    twin = harness.twin_over(qemu.hardware, captured.bases, folder)
    loaded = harness.Qemu(twin, incoming=f'exec:cat {stream}')
    monitor = since(start)
    harness.wait_until(lambda: loaded.status() != 'inmigrate', 600, 'the stream to be loaded', interval=0.001)
    loaded.qmp('cont')
    return loaded, monitor


def time_stock(qemu, captured, stream, seconds):
    start = time.monotonic()
    loaded, monitor = start_stock(qemu, captured, stream)
    running = since(start)
    loaded.guest('status')
    times = {'start': monitor, 'load': running - monitor, 'running': running, 'life': since(start)}
    times |= first_seconds(loaded, seconds)
    loaded.assert_alive()
    loaded.kill()
    return times


def measure_methods(bench, run, qemu, captured):
    seconds = bench.options.seconds
    stream = qsnapcmd.export(captured.directory, run.file('stream'))
    snapshot = reverts.files_of(captured)
    for cache, prepare in (('warm', read_into_cache), ('cold', drop_from_cache)):
        methods = (('map', snapshot, lambda: time_revert(qemu, captured, 'map', seconds)),
                   ('demand', snapshot, lambda prepare=prepare: time_on_demand(qemu, captured, seconds,
                                                                               lambda: prepare(snapshot))),
                   ('read', snapshot, lambda: time_reading(snapshot)),
                   ('load', snapshot, lambda: time_revert(qemu, captured, 'load', seconds)),
                   ('stock', [stream, *captured.bases], lambda: time_stock(qemu, captured, stream, seconds)))
        for method, files, attempt in methods:
            samples = []
            for _ in range(bench.options.repetitions):
                prepare(files)
                samples.append(attempt())
            keys = {'qemu': run.version, 'mib': mib_of(qemu), 'method': method, 'cache': cache}
            bench.results.add('revert', keys, samples)


# The first minute

def watch_speed(guest, seconds):
    """Row and curve: (seconds, MiB/s), one a second."""
    guest.guest('gap')
    start, before = time.monotonic(), guest.guest('status')['dirtied']
    moments = [(0, 0)]
    while moments[-1][0] < seconds:
        time.sleep(1)
        moments.append((time.monotonic() - start, (guest.guest('status')['dirtied'] - before) / 256))
    curve = [(later[0], (later[1] - earlier[1]) / (later[0] - earlier[0]))
             for earlier, later in zip(moments, moments[1:])]
    first = moments[min(FIRST_SECONDS, len(moments) - 1)]
    return {'first': first[1] / first[0], 'all': moments[-1][1] / moments[-1][0],
            'tick': guest.guest('gap')['maxgap'] / 1000, 'seconds': moments[-1][0]}, curve


def measure_minute(bench, run, qemu, captured):
    """Once: a minute each adds up."""
    stream = run.file('stream')
    snapshot = reverts.files_of(captured)
    for name in (*METHODS, 'stock'):
        drop_from_cache([*snapshot, stream])
        if name == 'stock':
            guest = start_stock(qemu, captured, stream)[0]
        else:
            guest = reverts.revert(qemu, captured, method=METHODS[name])
        row, curve = watch_speed(guest, bench.options.minute)
        guest.assert_alive()
        guest.kill()
        keys = {'qemu': run.version, 'mib': mib_of(qemu), 'method': name}
        bench.results.add('minute', {**keys, 'curve': curve}, [row])


# Clones

def measure_clones(bench, qemu, captured):
    data = captured.summary['guest']['data-size'] / (1 << 20)
    for name in ('map', 'demand'):
        clones = reverts.clone(qemu, captured, CLONES, method=METHODS[name])
        for one in clones:
            one.guest('dirty 1')
        time.sleep(bench.options.seconds)
        sizes = [one.resident_mib() for one in clones]
        everything = sum(share for _, share in sizes)
        samples = [{'rss': resident, 'pss': share, 'all': everything, 'data': data} for resident, share in sizes]
        for one in clones:
            one.kill()
        bench.results.add('clones', {'qemu': qemu.version, 'mib': mib_of(qemu), 'method': name}, samples)


# Targets and plots

def targets(_results):
    return ()


def draw(results):
    for row in results.of('minute', method='map'):
        same = {'qemu': row['qemu'], 'mib': row['mib']}
        series = {other['method']: [tuple(point) for point in other['curve']] for other in results.of('minute', **same)}
        yield (f'bench-minute-{row["qemu"]}-{row["mib"]}',
               plots.lines(f'What a guest dirties after a revert, {row["mib"]} MiB, QEMU {row["qemu"]}, cold cache',
                           'seconds', 'MiB/s', series))
    for version in dict.fromkeys(row['qemu'] for row in results.of('revert')):
        series = {}
        for row in results.of('revert', qemu=version, cache='warm'):
            if row['method'] != 'read':
                series.setdefault(row['method'], []).append((row['mib'], median(row, 'running')))
        if any(len(points) > 1 for points in series.values()):
            yield (f'bench-revert-{version}', plots.lines(f'Until the guest runs, QEMU {version}, warm cache', 'MiB of RAM',
                                                          'ms', series, log_x=True))
