# SPDX-License-Identifier: LGPL-2.1-or-later
"""Size: what three snapshots of one guest take, and how much of each is in the one before, at the same place."""

import array
import os
import shutil
import time

import measured
import processes
import qsnapcmd
from runner import Run
from tables import Table

SNAPSHOTS = 3
FILLED = 0.5          # of the guest's memory
PAGE = 4096
RUNS = (1, 4, 16)     # pages one after the other
GUESTS = {'idle': '0', 'busy': '5', 'flat out': 'max'}  # MB/s that it writes

NOTES = '''
Three snapshots of a guest, half of whose memory was written. idle: nothing but its ticks and its disk's steps meanwhile;
busy: it writes 5 MB/s to pages at random; flat out: as fast as it can. data: the pages of its RAM that are not zero. same: the
part of them that is in the snapshot before, at the same place; in runs of 16 and of 64 KiB or more: as much of it as is in one
piece with as many others. Of the first snapshot there is none. on disk: the blocks of the RAM's file. zstd: those of one with
--compression zstd, taken right after it. shared: what the file system has less free after the snapshot, with
--share-pages. The guest's pages are noise, which zstd cannot make smaller; those of its kernel it can.
'''

TABLES = [
    Table('size', 'What three snapshots take',
          {'qemu': 'QEMU', 'mib': 'MiB', 'on': 'on', 'guest': 'guest', 'capture': 'snapshot'},
          {'data': 'data MiB', 'same': 'same %', 'same16': 'in runs of 16 KiB %', 'same64': 'of 64 KiB %',
           'disk': 'on disk MiB', 'zstd': 'zstd MiB', 'shared': 'shared MiB'}, NOTES)]


def measure(bench, version):
    for guest, dirty in GUESTS.items():
        measure_guest(bench, version, guest, dirty)


def measure_guest(bench, version, guest, dirty):
    """The snapshots beside the zstd ones have a folder of their own, so that each is the parent of the next."""
    run, mib = Run(version, 1), bench.options.size
    folder, kind = run.file('shared'), bench.options.kind
    problem = processes.mount_cloning(folder, kind, size_mib=(SNAPSHOTS + 1) * mib + 1024)
    if problem:
        run.skip(problem)
    qemu = run.boot(memory=f'{mib}M')
    qemu.guest(f'fill {int(mib * FILLED)}', timeout=measured.PATIENCE)
    qemu.guest(f'dirty {dirty}')
    keys = {'qemu': version, 'mib': mib, 'on': kind, 'guest': guest}
    before, total = None, {}
    for number in range(SNAPSHOTS):
        time.sleep(bench.options.apart)
        numbers, before = measure_snapshot(qemu, run, os.path.join(folder, str(number)), before)
        bench.results.add('size', {**keys, 'capture': number + 1}, [numbers])
        total = {name: total.get(name, 0) + numbers[name] for name in ('data', 'disk', 'zstd', 'shared')}
    bench.results.add('size', {**keys, 'capture': 'all'}, [total])
    qemu.kill()
    processes.clean_up()


def measure_snapshot(qemu, run, directory, before):
    free = free_mib(os.path.dirname(directory))
    qsnapcmd.snapshot(qemu.qmp_path, directory, '--disk-mode', 'copy', '--share-pages')
    shared = free - free_mib(os.path.dirname(directory))
    packed = run.file('packed/snapshot')
    os.makedirs(os.path.dirname(packed), exist_ok=True)
    qsnapcmd.snapshot(qemu.qmp_path, packed, '--disk-mode', 'copy', '--compression', 'zstd')
    sums = checksums(directory)
    numbers = {'data': sum(map(bool, sums)) * PAGE / (1 << 20), 'disk': blocks_of(directory), 'zstd': blocks_of(packed),
               'shared': shared, **(compare(before, sums) if before else {})}
    shutil.rmtree(packed)
    return numbers, sums


def checksums(directory):
    """Of each page, 0 for one of zeros."""
    sums = array.array('Q')
    with open(os.path.join(directory, 'ram', 'pc.ram.sums'), 'rb') as file:
        sums.frombytes(file.read())
    return sums


def compare(before, sums):
    """Per cent of the pages that are not zero."""
    common = {length: 0 for length in RUNS}
    run = 0
    for old, new in [*zip(before, sums), (0, 1)]:
        if old == new != 0:
            run += 1
            continue
        for length in RUNS:
            common[length] += run if run >= length else 0
        run = 0
    data = sum(map(bool, sums))
    return {name: common[length] / data * 100 for name, length in zip(('same', 'same16', 'same64'), RUNS)}


def blocks_of(directory):
    """MiB that the files of the RAM take."""
    folder = os.path.join(directory, 'ram')
    return sum(os.stat(os.path.join(folder, name)).st_blocks for name in os.listdir(folder)) / 2048


def free_mib(folder):
    """When all is written that was to be."""
    os.sync()
    found = os.statvfs(folder)
    return found.f_bfree * found.f_frsize / (1 << 20)


def targets(_results):
    return ()


def draw(_results):
    return ()
