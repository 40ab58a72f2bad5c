# SPDX-License-Identifier: LGPL-2.1-or-later
"""Saving: how fast, at what cost, and what the guest feels of it, beside a QEMU that writes its stream straight into a file,
and beside dd."""

import os
import shutil
import socket
import subprocess
import time

import by_hand
import host
import measured
import processes
import qsnapcmd
from runner import Run
from tables import Table, median

SECONDS = 2       # of the guest's ticks before and after
SPEED = 0.95      # of QEMU's own
SAVER = 0.5       # CPU seconds a GiB
DIRTY = 512       # MiB that wait to be written
SEAL = 1000       # ms
EMPTY_FACTOR = 1.5
TICKS_FACTOR = 0.9
LIBRARY, STRAIGHT, DD, FROM_CACHE = 'libqsnap', 'QEMU to a file', 'dd, fsync', 'saver, from cache'

NOTES = '''
RAM: all of the guest's, written: what is not zero; both of saving: from the guest's resume until it was on the disk. stream:
from the resume until QEMU had written its last byte; seal: from there until all was on the disk; ticks: of the guest, of a
millisecond each. QEMU to a file: a background snapshot into a descriptor of a file, then fsync. dd: as many bytes,
conv=fsync. saver, from cache: the same memory as a stream in the page cache, through `cat` and a pipe, onto a tmpfs.
'''
NOTES_ON_COST = '''
CPU: of QEMU with its guest, of the saver and of the rest of the qsnap command; dirty: what waited to be written at most,
left: when it was done; cached: how much the page cache has grown; on disk: the blocks of the snapshot's files.
'''

KEYS = {'qemu': 'QEMU', 'mib': 'MiB', 'memory': 'memory', 'method': 'method'}
TABLES = [
    Table('save', 'Saving', KEYS,
          {'ram': 'RAM MiB/s', 'speed': 'written MiB/s', 'seconds': 'saving s', 'stream': 'stream s', 'seal': 'seal ms',
           'before': 'ticks/s before', 'during': 'during', 'after': 'after',
           'pause': 'pause ms', 'gap': 'gap ms', 'sealed': 'sealed ms'}, NOTES),
    Table('save-cost', 'What saving costs', KEYS,
          {'qemu_cpu': 'QEMU CPU s/GiB', 'saver_cpu': 'saver', 'library_cpu': 'library',
           'dirty': 'dirty MiB', 'left': 'left', 'cached': 'cached MiB', 'data': 'data MiB', 'disk': 'on disk MiB'},
          NOTES_ON_COST)]


def measure(bench, version):
    measure_guest(bench, version, bench.options.size, 'filled')
    measure_guest(bench, version, bench.options.empty_size, 'untouched')


def measure_guest(bench, version, mib, memory):
    """In turns, on one guest that has been captured before."""
    run = Run(version, 1)
    qemu = measured.boot(run, mib, filled=memory == 'filled')
    measured.capture(qemu, run.file('snapshot'))
    samples = {LIBRARY: [], STRAIGHT: [], DD: []}
    for _ in range(bench.options.repetitions):
        one = save_by_library(run, qemu, mib, bench.options.snapshot_options)
        samples[LIBRARY].append(one)
        samples[STRAIGHT].append(save_straight(run, qemu, mib))
        samples[DD].append(copy_by_dd(run, one['data']))
    if memory == 'filled':
        samples[FROM_CACHE] = save_from_cache(run, qemu, bench.options.repetitions)
    qemu.kill()
    processes.clean_up()
    for table in TABLES:
        for name, attempts in samples.items():
            bench.results.add(table.name, {'qemu': version, 'mib': mib, 'memory': memory, 'method': name}, attempts)


# The guest and the host meanwhile

def ticks_a_second(qemu, action):
    """(what the action says, the guest's ticks a second by the host's clock meanwhile)"""
    before, start = qemu.guest('status')['ticks'], time.monotonic()
    answer = action()
    ticks = qemu.guest('status')['ticks'] - before
    return answer, ticks / (time.monotonic() - start)


def rest(qemu):
    os.sync()
    return ticks_a_second(qemu, lambda: time.sleep(SECONDS))[1]


def observe(qemu, save):
    """Numbers of a save, which says (MiB that it wrote, other numbers)."""
    before = rest(qemu)
    watch, cpu = measured.Watch(qemu), host.cpu_seconds(qemu.pid)
    ((data, numbers), end), during = ticks_a_second(qemu, lambda: (save(), time.time()))
    cpu = host.cpu_seconds(qemu.pid) - cpu
    numbers = {**watch.end(end), **numbers, 'data': data}
    resumed, written = watch.events('RESUME')[-1], watch.events('MIGRATION', status='completed')[-1]
    seconds = watch.start + numbers['sealed'] / 1000 - resumed
    return {**numbers, 'seconds': seconds, 'speed': data / seconds, 'stream': written - resumed,
            'seal': (seconds - (written - resumed)) * 1000, 'qemu_cpu': cpu / (data / 1024),
            'before': before, 'during': during, 'after': rest(qemu)}


def with_ram(numbers, mib):
    return {**numbers, 'ram': mib / numbers['seconds']}


# By the library

def save_by_library(run, qemu, mib, options):
    directory = run.file('snapshot')

    def save():
        call = measured.Call(qemu, directory, options)
        sampler = host.Sampler(call.pid)
        manifest, _, cpu = call.finish()
        cost = sampler.end()
        data, saver = manifest['guest']['data-size'] / (1 << 20), cost.pop('helpers')
        return data, {**cost, 'saver_cpu': saver / (data / 1024), 'library_cpu': max(0, cpu - saver) / (data / 1024)}

    numbers = observe(qemu, save)
    numbers['disk'] = blocks_of(directory)
    shutil.rmtree(directory)
    return with_ram(numbers, mib)


def blocks_of(directory):
    """MiB."""
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(directory) for name in names]
    return sum(os.stat(path).st_blocks for path in paths) / 2048


# Beside it

def save_straight(run, qemu, mib):
    """Into a file that QEMU writes itself. The guest is stopped by QEMU alone, and no disk is captured."""
    path = run.file('stream')

    def save():
        by_hand.set_capabilities(qemu, by_hand.CAPABILITIES, True)
        mark = qemu.monitor.mark()
        sampler = host.Sampler()
        with open(path, 'wb') as file:
            qemu.qmp('getfd', fdname='stream', fds=[file.fileno()])
            qemu.qmp('migrate', uri='fd:stream')
            qemu.monitor.wait_event('MIGRATION', since=mark, status='completed', timeout=measured.PATIENCE)
            os.fsync(file.fileno())
        cost = sampler.end()
        del cost['helpers']
        return os.path.getsize(path) / (1 << 20), cost

    numbers = observe(qemu, save)
    by_hand.set_capabilities(qemu, by_hand.CAPABILITIES, False)
    numbers['disk'] = blocks_of(run.folder)
    os.unlink(path)
    return with_ram(numbers, mib)


def copy_by_dd(run, mib):
    path = run.file('copy')
    start = time.monotonic()
    subprocess.run(['dd', 'if=/dev/zero', f'of={path}', 'bs=1M', f'count={max(1, round(mib))}', 'conv=fsync', 'status=none'],
                   check=True, timeout=measured.PATIENCE)
    seconds = time.monotonic() - start
    os.unlink(path)
    return {'speed': mib / seconds, 'data': mib}


def save_from_cache(run, qemu, repetitions):
    directory, stream = run.file('snapshot'), run.file('stream')
    manifest, _, _ = measured.Call(qemu, directory).finish()
    qsnapcmd.export(directory, stream)
    shutil.rmtree(directory)
    samples = [run_saver(stream, manifest['guest']['data-size'] / (1 << 20)) for _ in range(repetitions)]
    os.unlink(stream)
    return samples


def run_saver(stream, mib):
    """With an application that has died: it saves what it is sent, and needs nobody to tell it."""
    folder = f'/dev/shm/qsnap-bench-{os.getpid()}'
    os.mkdir(folder)
    directory, (ours, its_end), (read_end, write_end) = os.open(folder, os.O_RDONLY), control(), os.pipe()
    start = time.monotonic()
    saver = processes.start([saver_program(), f'--stream-fd={read_end}', f'--dir-fd={directory}',
                             f'--control-fd={its_end.fileno()}'], pass_fds=[read_end, directory, its_end.fileno()])
    feeder = processes.start(['cat', stream], stdout=write_end)
    for descriptor in (directory, read_end, write_end):
        os.close(descriptor)
    ours.close()
    its_end.close()
    status, usage = os.wait4(saver.pid, 0)[1:]
    seconds = time.monotonic() - start
    saver.returncode = os.waitstatus_to_exitcode(status)
    for process in (saver, feeder):
        processes.kill(process)
    shutil.rmtree(folder)
    return {'speed': mib / seconds, 'data': mib, 'saver_cpu': (usage.ru_utime + usage.ru_stime) / (mib / 1024)}


def control():
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def saver_program():
    return os.environ.get('QSNAP_SAVER') or os.path.join(os.path.dirname(os.path.dirname(qsnapcmd.command())),
                                                         'libqsnap', 'saver', 'qsnap-saver')


# Targets

def medians(results, table, columns, **keys):
    row = results.of(table, **keys)[0]
    return [median(row, column) for column in columns]


def targets(results):
    for version in dict.fromkeys(row['qemu'] for row in results.of('save-cost', memory='untouched')):
        yield from speed_targets(results, version)
        yield from cost_targets(results, version)
        yield from empty_targets(results, version)


def speed_targets(results, version):
    ours, theirs = (medians(results, 'save', ('speed', 'during'), qemu=version, memory='filled', method=method)
                    for method in (LIBRARY, STRAIGHT))
    yield (f'{version}: saved at 95 % of the speed of QEMU to a file or more',
           f'{ours[0]:.0f} beside {theirs[0]:.0f} MiB/s', ours[0] >= SPEED * theirs[0])
    yield (f'{version}: the guest\'s ticks no worse than there (within {100 - TICKS_FACTOR * 100:.0f} %)',
           f'{ours[1]:.0f} beside {theirs[1]:.0f} a second', ours[1] >= TICKS_FACTOR * theirs[1])


def cost_targets(results, version):
    same = {'qemu': version, 'memory': 'filled', 'method': LIBRARY}
    saver, dirty = medians(results, 'save-cost', ('saver_cpu', 'dirty'), **same)
    seal = medians(results, 'save', ('seal',), **same)[0]
    yield f'{version}: at most 0.5 CPU seconds of the saver a GiB', f'{saver:.2f} s', saver <= SAVER
    yield f'{version}: at most {DIRTY} MiB wait to be written', f'{dirty:.0f} MiB', dirty <= DIRTY
    yield f'{version}: sealed at most 1 s after the last byte', f'{seal / 1000:.2f} s', seal <= SEAL


def empty_targets(results, version):
    """Time for the memory that is used, by the speed of the filled guest."""
    same = {'qemu': version, 'method': LIBRARY}
    data, disk = medians(results, 'save-cost', ('data', 'disk'), memory='untouched', **same)
    seconds = medians(results, 'save', ('seconds',), memory='untouched', **same)[0]
    expected = data / medians(results, 'save', ('speed',), memory='filled', **same)[0]
    yield (f'{version}: zero pages cost no disk', f'{disk:.0f} MiB on disk for {data:.0f} MiB of data',
           disk <= 1.1 * data + 16)
    yield (f'{version}: a mostly empty guest takes the time that its used memory needs (within 50 %)',
           f'{seconds:.2f} s, {expected:.2f} s at the filled guest\'s speed', seconds <= EMPTY_FACTOR * expected)


def draw(_results):
    return ()
