# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everybody dies in turn, in every phase of a capture: nothing is lost, and the guest goes on."""

import itertools
import os
import random
import time

import crashes
import harness
import processes
import qsnapcmd
from captures import Capturer, assert_as_it_was, assert_is_sealed, assert_reverts
from crashes import DoomedSnapshot, assert_recover_fails, recover
from runner import test
from test_capture import boot_with_slow_save

POINTS = {
    'preparing': ['after:journal.json', 'after:add-fd', 'after:add-fd:2', 'after:blockdev-add', 'before:blockdev-create',
                  'after:blockdev-create', 'after:blockdev-add:2', 'after:getfd:2', 'after:getfd:3', 'after:set-action'],
    'pausing': ['after:journal.json:2', 'after:migrate-set-capabilities:2', 'after:stop', 'before:transaction',
                'after:transaction', 'before:migrate', 'after:migrate', 'before:query-migrate-capabilities:2'],
    'saving': ['before:journal.json:3', 'after:journal.json:3'],
    'settling': ['before:migrate-set-capabilities:3', 'after:migrate-set-capabilities:3', 'after:set-action:2',
                 'after:closefd:2'],
    'sealing': ['after:journal.json:4', 'before:snapshot.json', 'after:snapshot.json'],
}
VICTIMS = (('application',), ('saver',), ('application', 'saver'))
NOTHING = 'there is nothing to recover'


class Victim:
    """One guest whose captures are killed one after the other; each leaves it as it was, or with one sealed snapshot more."""

    def __init__(self, run, qemu):
        self._run = run
        self.qemu = qemu
        self.capturer = Capturer(run, qemu)
        self._before = None

    def note(self):
        """What it is before a capture."""
        self._before = self.qemu.fingerprint(), crashes.overlays_in(self._run.folder)

    def begin(self, point=None, options=()):
        self.note()
        return DoomedSnapshot(self.qemu, self.capturer.next_directory(), point, options)

    def assert_well(self):
        self.qemu.assert_alive()

    def assert_as_it_was(self, fingerprint):
        assert_as_it_was(self.qemu, fingerprint)

    def recover(self, doomed):
        answer = recover(doomed.directory, self.qemu.qmp_path, timeout=90)
        if not answer['sealed']:
            self.assert_undone(doomed)
            return None
        return self.take_sealed(doomed, answer)

    def assert_undone(self, doomed):
        fingerprint, files = self._before
        assert not os.path.exists(doomed.directory), os.listdir(doomed.directory)
        assert crashes.overlays_in(self._run.folder) == files, (files, crashes.overlays_in(self._run.folder))
        self.assert_as_it_was(fingerprint)
        assert_recover_fails(doomed.directory, NOTHING, address=self.qemu.qmp_path)
        self.assert_well()

    def take_sealed(self, doomed, answer):
        before, after = self._before[0], self.qemu.fingerprint()
        for same in ('capabilities', 'parameters', 'jobs', 'status'):
            assert before[same] == after[same], (same, before[same], after[same])
        assert after['files'].count('pipe') == before['files'].count('pipe'), after['files']
        assert not os.path.exists(os.path.join(doomed.directory, 'journal.json'))
        assert_is_sealed(doomed.directory)
        assert_recover_fails(doomed.directory, NOTHING, address=self.qemu.qmp_path)
        self.assert_well()
        return self.capturer.take_account(answer, doomed.directory)

    def end(self, doomed):
        """Of a capture whose application lives on: sealed, or undone by itself."""
        answer = doomed.answer()
        if answer is None:
            self.assert_undone(doomed)
            return None
        return self.take_sealed(doomed, answer)

    def kill(self, doomed, victims):
        """What came of it; None: it was undone."""
        if 'application' in victims:
            doomed.kill_application()
        if 'saver' in victims:
            doomed.kill_saver()
        if 'application' in victims:
            return self.recover(doomed)
        doomed.go_on()
        return self.end(doomed)


BEFORE_SAVER = POINTS['preparing'][:7]


def chosen(count):
    """All, or evenly spread ones, others in each run."""
    everything = [(phase, point, victims) for (phase, points), victims in itertools.product(POINTS.items(), VICTIMS)
                  for point in points if 'saver' not in victims or point not in BEFORE_SAVER]
    if count >= len(everything):
        return everything
    step = len(everything) // count
    return [everything[min(index + random.randrange(step), len(everything) - 1)]
            for index in range(0, len(everything), step)]


@test(small=6, full=67, timeout=120)
def everybody_is_killed_at_every_step(run):
    qemu = run.boot(run.disks(2))
    qemu.work_hard(fill_mib=64)
    victim = Victim(run, qemu)
    for phase, point, victims in chosen(run.count):
        captured = victim.kill(victim.begin(point), victims)
        outcome = 'sealed' if captured else 'undone'
        print(f'{"+".join(victims)} | {phase} | {point} | {run.version} | {outcome}', flush=True)
        if phase in ('settling', 'sealing'):
            assert captured, (point, victims)
    qemu.assert_consistent()
    assert_reverts(qemu, victim.capturer.capture())


# While memory is saved, seconds long

def begin_saving(victim):
    doomed = victim.begin()
    doomed.wait_step('saving')
    assert doomed.find_saver(), 'no saver'
    return doomed


def recover_is_killed_again_and_again(qemu, doomed):
    """It may come to its end, too."""
    for _ in range(4):
        process = crashes.start_recover(doomed.directory, qemu.qmp_path)
        time.sleep(random.random() * 0.6)
        processes.kill(process)


@test(timeout=120, small_version='7.2')
def group_is_killed_while_memory_is_saved(run):
    """The saver is in a session of its own, finishes the memory, and recovery the snapshot."""
    victim = Victim(run, boot_with_slow_save(run))
    doomed = begin_saving(victim)
    assert_recover_fails(doomed.directory, 'under way', address=victim.qemu.monitor_path)
    doomed.kill_group()
    captured = victim.recover(doomed)
    assert captured, 'undone, though the saver lived'
    assert_reverts(victim.qemu, captured)

    doomed = begin_saving(victim)
    doomed.interrupt_group()
    assert victim.end(doomed) is None, 'sealed in spite of Ctrl-C'
    victim.qemu.assert_consistent()


@test(timeout=120, small_version='7.2')
def nobody_is_left_while_memory_is_saved(run):
    """QEMU keeps the stream; the guest waits at the latest for its first write to what is not saved."""
    victim = Victim(run, boot_with_slow_save(run))
    doomed = begin_saving(victim)
    doomed.kill_application()
    doomed.kill_saver()
    time.sleep(2)
    assert victim.recover(doomed) is None

    doomed = begin_saving(victim)
    doomed.kill_saver()
    assert victim.end(doomed) is None, 'sealed without a saver'

    doomed = begin_saving(victim)
    doomed.kill_saver()
    doomed.kill_application()
    recover_is_killed_again_and_again(victim.qemu, doomed)
    if os.path.exists(doomed.directory):
        assert victim.recover(doomed) is None
    victim.assert_undone(doomed)
    victim.qemu.assert_consistent()
    assert_reverts(victim.qemu, victim.capturer.capture())


# QEMU dies

def assert_images_are_clean(folder):
    """Leaked clusters are no damage."""
    for name in os.listdir(folder):
        if name.endswith('.qcow2'):
            done = processes.run(['qemu-img', 'check', '-q', os.path.join(folder, name)])
            assert done.returncode in (0, 3), (name, done.stdout, done.stderr)


def boot_again(hardware):
    qemu = harness.boot(hardware)
    qemu.guest('rate max')
    qemu.assert_alive()
    qemu.assert_consistent()
    return qemu


QEMU_DIES = ['saving', 'after:transaction', 'after:blockdev-create', 'before:snapshot.json', 'after:snapshot.json']


@test(small=1, full=5, timeout=120, small_version='10.0')
def qemu_is_killed(run):
    """With the application, or seen by it; what the guest wrote is in the images that it had."""
    for number, point in enumerate(QEMU_DIES[:run.count]):
        folder = run.file(f'qemu{number}')
        os.mkdir(folder)
        disks = [harness.Disk(harness.create_disk(f'{folder}/disk{index}.qcow2', 'qcow2'), 'qcow2') for index in range(2)]
        qemu = run.boot(disks, memory='large')
        qemu.work_hard(fill_mib=600 if point == 'saving' else 64)
        victim = Victim(run, qemu)
        doomed = begin_saving(victim) if point == 'saving' else victim.begin(point)
        qemu.kill()
        if number % 2:
            doomed.kill_application()
        else:
            doomed.go_on()
            doomed.answer()
        assert_images_are_clean(folder)
        outcome = recover_without_qemu(doomed, folder)
        print(f'QEMU{"+application" if number % 2 else ""} | {point} | {run.version} | {outcome}', flush=True)
        if outcome == 'undone':
            boot_again(qemu.hardware).kill()


def recover_without_qemu(doomed, folder):
    if not os.path.exists(doomed.directory):
        return 'undone by the application'
    if not os.path.exists(f'{doomed.directory}/journal.json'):
        assert_recover_fails(doomed.directory, NOTHING)
        return 'sealed by the application'
    recover_killed = crashes.start_recover(doomed.directory)
    time.sleep(random.random() / 5)
    processes.kill(recover_killed)
    if os.path.exists(f'{doomed.directory}/journal.json'):
        answer = recover(doomed.directory)
        if answer['sealed']:
            assert_is_sealed(doomed.directory)
            return 'sealed'
    assert_images_are_clean(folder)
    assert_recover_fails(doomed.directory, NOTHING)
    if os.path.exists(doomed.directory):
        assert_is_sealed(doomed.directory)
        return 'sealed'
    assert not crashes.overlays_in(folder), os.listdir(folder)
    return 'undone'


# What the guest does while memory is saved

def boot_with_a_full_overlay(run):
    """(victim, the capture under way, its overlays' folder): QEMU has stopped the guest, which writes flat out."""
    folder = run.file('overlays')
    if not processes.mount_tmpfs(folder, '4M'):
        run.skip('no tmpfs can be mounted')
    victim = Victim(run, boot_with_slow_save(run))
    victim.qemu.guest('write-random 100')
    doomed = victim.begin(options=['--overlay-directory', folder])
    victim.qemu.wait_status('io-error')
    assert doomed.process.poll() is None, 'too late: it is not being saved any more'
    return victim, doomed, folder


@test(timeout=120, small_version='10.0')
def overlay_is_full_while_memory_is_saved(run):
    """The snapshot is whole; the guest waits for room, or goes on where it was."""
    victim, doomed, folder = boot_with_a_full_overlay(run)
    captured = victim.capturer.take_account(doomed.sealed(), doomed.directory)
    assert victim.qemu.status() == 'io-error'
    assert processes.run(['mount', '-o', 'remount,size=400M', folder]).returncode == 0
    victim.qemu.qmp('cont')
    victim.qemu.guest('write-random 0')
    victim.qemu.assert_alive()
    victim.qemu.assert_consistent()
    assert_is_sealed(captured.directory)
    assert_reverts(victim.qemu, captured)


@test(timeout=120, small_version='7.2')
def application_is_killed_over_a_full_overlay(run):
    victim, doomed, folder = boot_with_a_full_overlay(run)
    doomed.find_saver()
    doomed.kill_saver()
    doomed.kill_application()
    assert not recover(doomed.directory, victim.qemu.qmp_path)['sealed']
    assert not crashes.overlays_in(folder)
    victim.qemu.guest('write-random 0')
    victim.qemu.assert_alive()
    victim.qemu.assert_consistent()
