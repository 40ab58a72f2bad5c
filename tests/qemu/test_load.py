# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many guests at once, and many captures of one: nothing adds up, and nothing is torn."""

import json
import os
import shutil

import growth
import harness
import qsnapcmd
import reverts
from captures import Capturer, assert_is_sealed
from runner import test
from test_python import run_python
from test_soak import (APPLICATION_MAY_GROW_KIB, HEAP_MAY_GROW_KIB, LONGEST_CHAIN, QEMU_MAY_GROW_KIB, WARM_UP,
                       Application)

MANY = os.path.join(harness.HERE, 'many_application.py')
SMALL_GUEST = {'memory': '128M', 'smp': 1}


@test(small=4, full=16, timeout=180, shows=True, small_version='10.0')
def many_guests_at_once(run):
    """By one application."""
    guests = []
    for number in range(run.count):
        disk = harness.Disk(harness.create_disk(run.file(f'guest{number}.raw')))
        guests.append(run.boot([disk], **SMALL_GUEST))
    for guest in guests:
        guest.work_hard(fill_mib=16, dirty='5', rate='20')
    capturers = [Capturer(run, guest) for guest in guests]
    directories = [capturer.next_directory() for capturer in capturers]
    words = [word for guest, directory in zip(guests, directories) for word in (guest.qmp_path, directory)]
    answer = json.loads(run_python(MANY, *words))
    print(f'QEMU {run.version}, {run.count} guests at once: pauses of',
          ', '.join(f'{one.get("pause-us", 0) / 1000:.1f}' for one in answer['guests']), 'ms')
    print(f'{answer["most"]["fd"]} descriptors and {answer["most"]["task"]} threads at most')

    for guest, one in zip(guests, answer['guests']):
        assert one.get('sealed') and one['signals'] == ['point-in-time-reached', 'memory-complete', 'finish'], answer
        guest.assert_alive()
        guest.assert_consistent()
    captured = [capturer.take_account(qsnapcmd.show(directory), directory)
                for capturer, directory in zip(capturers, directories)]
    for directory in directories:
        assert_is_sealed(directory)
    for guest, one in list(zip(guests, captured))[::max(1, run.count // 4)]:
        reverts.revert(guest, one).assert_came_back().kill()


class Chain:
    """One guest, and its snapshots that still stand on each other."""

    def __init__(self, run):
        self.qemu = run.boot(run.disks(1), **SMALL_GUEST)
        self._ram = growth.largest_mapping(self.qemu.pid)
        self.qemu.work_hard(fill_mib=16, dirty='5', rate='20')
        self._capturer = Capturer(run, self.qemu)
        self._application = Application(self.qemu, self.qemu.qmp_path)
        self.captured = []

    def capture(self):
        directory = self._capturer.next_directory()
        answer = self._application.ask('capture', directory=directory)
        assert answer == {'sealed': True}, answer
        self.captured.append(self._capturer.take_account(qsnapcmd.show(directory), directory))

    def longest(self):
        return len(harness.backing_chain(self._capturer.disk_files[0]))

    def delete_all(self):
        """While the guest runs; the newest first, as the others stand below it."""
        for captured in reversed(self.captured):
            answer = self._application.ask('delete', directory=captured.directory)
            assert answer == {'deleted': True}, answer
            self._capturer.disk_files = captured.bases
        self.captured = []

    def holdings(self):
        """Of QEMU and of the application, and KiB of the application's heap, with the chain at its start."""
        self.delete_all()
        heap = self._application.ask('tidy')['heap'] >> 10
        return growth.holdings(self.qemu.pid, self._ram), growth.holdings(self._application.pid), heap


@test(small=5, full=500, timeout=90, shows=True, small_version='7.2')
def captures_in_a_row(run):
    """By one application, which merges the overlays again."""
    chain = Chain(run)
    warm_up = min(WARM_UP, run.count // 2)
    for number in range(run.count):
        if number == warm_up:
            before = chain.holdings()
        elif len(chain.captured) == LONGEST_CHAIN:
            chain.delete_all()
        chain.capture()
        assert chain.longest() <= LONGEST_CHAIN + 1, chain.longest()
        if number % 10 == 0:
            chain.qemu.assert_alive()
    reverted = reverts.revert(chain.qemu, chain.captured[-1])
    reverted.assert_came_back().kill()
    shutil.rmtree(reverted.folder)    # it stands on the snapshot
    after = chain.holdings()
    chain.qemu.assert_alive()
    chain.qemu.assert_consistent()

    print(f'QEMU {run.version}, {run.count} captures')
    growth.assert_has_not_grown('QEMU', before[0], after[0], QEMU_MAY_GROW_KIB)
    growth.assert_has_not_grown('application', before[1], after[1], APPLICATION_MAY_GROW_KIB)
    print(f'application: {before[2]} KiB of its heap in use, at the end {after[2]}')
    assert after[2] - before[2] < HEAP_MAY_GROW_KIB, f'the heap: {before[2]} KiB became {after[2]}'
