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
    bases: list              # one for each disk of the hardware
    efi_variables_base: str
    overlays: list


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

    def capture(self, directory=None):
        directory = directory or self.next_directory()
        return self.take_account(qsnapcmd.snapshot(self._qemu.qmp_path, directory), directory)

    def take_account(self, summary, directory):
        overlay_of = {disk['base']['file']: disk['overlay']['file'] for disk in summary['disks']}
        bases, nvram = self.disk_files, self.efi_variables
        assert set(overlay_of) == {os.path.realpath(path) for path in bases + ([nvram] if nvram else [])}, \
            f'bases {sorted(overlay_of)} instead of {bases} {nvram}'
        self.disk_files = [overlay_of[os.path.realpath(path)] for path in bases]
        self.efi_variables = overlay_of[os.path.realpath(nvram)] if nvram else None
        return Captured(summary, directory, bases, nvram, self.disk_files)


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


def assert_as_it_was(qemu, before):
    """Waits a moment: QEMU closes a client's descriptors in its own time."""
    try:
        harness.wait_until(lambda: qemu.fingerprint() == before, 10, 'the guest to be as it was')
    except TimeoutError:
        after = qemu.fingerprint()
        changed = {key: (before[key], after[key]) for key in before if before[key] != after[key]}
        raise AssertionError(f'not as it was, before and after: {changed}') from None
