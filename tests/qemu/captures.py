# SPDX-License-Identifier: LGPL-2.1-or-later
"""Captures of a guest by the qsnap command, and the way back that has nothing of libqsnap in it."""

import dataclasses
import itertools
import os
import time

import harness
import processes
import qsnapcmd


@dataclasses.dataclass
class Captured:
    summary: dict
    directory: str
    bases: list              # one for each disk of the hardware; None: in no file
    sources: list            # what the guest had then
    efi_variables_base: str
    efi_variables: str       # what the guest had then
    overlays: list

    def again(self):
        """The same snapshot, whose images are others since an earlier one was deleted: they are what the guest had, too."""
        summary = qsnapcmd.show(self.directory)
        bases = [disk['base']['file'] for disk in summary['disks']]
        return dataclasses.replace(self, summary=summary, bases=bases, sources=bases)


def source_of(disk):
    """The image that the guest had, of a disk in a manifest."""
    return disk.get('source', disk['base'])['file']


def goes_on_in(disk):
    return disk['overlay']['file'] if 'overlay' in disk else source_of(disk)


def base_of(disk, directory):
    """Where it is a file of its own."""
    if 'file' not in disk['base'] or disk.get('mode') in ('internal', 'exclude'):
        return None
    return os.path.join(directory, disk['base']['file'])


class Capturer:
    """Captures one guest again and again, and keeps its own account of which file each disk is on."""

    _numbers = itertools.count(1)

    def __init__(self, run, qemu):
        self._run = run
        self._qemu = qemu
        self.disk_files = [disk.path for disk in qemu.hardware.disks]
        self.efi_variables = qemu.hardware.efi_variables

    def next_directory(self):
        return self._run.file(f'snapshot{next(self._numbers)}')

    def start(self):
        """A capture under way; give it to finish()."""
        directory = self.next_directory()
        return directory, qsnapcmd.RunningSnapshot(self._qemu.qmp_path, directory)

    def finish(self, started):
        directory, running = started
        return self.take_account(running.finish(), directory)

    def capture(self, *options, directory=None):
        directory = directory or self.next_directory()
        return self.take_account(qsnapcmd.snapshot(self._qemu.qmp_path, directory, *options), directory)

    def take_account(self, summary, directory):
        disk_of = {source_of(disk): disk for disk in summary['disks']}
        files, nvram = self.disk_files, self.efi_variables
        assert set(disk_of) == {os.path.realpath(path) for path in files + ([nvram] if nvram else [])}, \
            f'sources {sorted(disk_of)} instead of {files} {nvram}'
        self.disk_files = [goes_on_in(disk_of[os.path.realpath(path)]) for path in files]
        self.efi_variables = goes_on_in(disk_of[os.path.realpath(nvram)]) if nvram else None
        return Captured(summary, directory, [base_of(disk_of[os.path.realpath(path)], directory) for path in files], files,
                        base_of(disk_of[os.path.realpath(nvram)], directory) if nvram else None, nvram, self.disk_files)


def load(qemu, captured):
    """A stock QEMU that continues at the point in time."""
    stream = qsnapcmd.export(captured.directory, os.path.join(processes.temporary_folder(), 'stream'))
    reverted = harness.load_stream(qemu.hardware, stream, captured.bases, captured.efi_variables_base)
    os.unlink(stream)
    return reverted


def assert_reverts(qemu, captured):
    """Disk and RAM are of one instant, and what comes back is a guest that works."""
    reverted = load(qemu, captured)
    check = reverted.assert_consistent()
    reverted.assert_alive()
    reverted.kill()
    return check


def longest_standstill(qemu, running):
    """Seconds that any of the guest's counters stood still while the capture ran, by the host's clock: the guest's own
    does not see a pause."""
    longest = 0
    counters = qemu.counters()
    changed = [time.monotonic()] * len(counters)
    while running.is_running():
        for index, counter in enumerate(qemu.counters()):
            now = time.monotonic()
            longest = max(longest, now - changed[index])
            if counter > counters[index]:
                counters[index], changed[index] = counter, now
    return longest


def assert_is_sealed(directory):
    assert os.path.exists(os.path.join(directory, 'snapshot.json')), os.listdir(directory)
    qsnapcmd.verify(directory)


def assert_no_snapshot(directory):
    assert not os.path.exists(os.path.join(directory, 'snapshot.json'))


def assert_as_it_was(qemu, before, but=()):
    """Waits a moment: QEMU closes a client's descriptors in its own time."""
    def differences():
        after = qemu.fingerprint()
        return {key: (before[key], after[key]) for key in before if key not in but and before[key] != after[key]}
    try:
        harness.wait_until(lambda: not differences(), 10, 'the guest to be as it was')
    except TimeoutError:
        changed = differences()
        raise AssertionError(f'not as it was, before and after: {changed}') from None
