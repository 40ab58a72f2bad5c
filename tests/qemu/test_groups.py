# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that talk to each other, captured at one instant and brought back together."""

import json
import os
import random
import time

import qsnapcmd
import reverts
from captures import assert_as_it_was, assert_no_snapshot
from groups import NAMES, Group, too_early
from runner import test


def wake_who_was_paused(guests, captured):
    for guest, one in zip(guests, captured.captured):
        with open(os.path.join(one.directory, 'snapshot.json'), encoding='utf-8') as file:
            paused = json.load(file)['guest']['run-state'] == 'paused'
        if paused:
            assert guest.qmp('query-status')['status'] == 'paused'
            guest.qmp('cont')


def assert_comes_back(captured):
    """After a revert of the group no guest has received what the other has not sent."""
    guests = captured.revert()
    wake_who_was_paused(guests, captured)
    assert too_early(guests) == [0] * (len(guests) - 1), too_early(guests)
    for guest in guests:
        guest.assert_came_back()
    assert too_early(guests) == [0] * (len(guests) - 1), too_early(guests)
    for guest in guests:
        guest.kill()


def assert_is_listed(captured):
    """In the folder that the group's own is in."""
    folder, name = os.path.split(captured.directory)
    listed = [one for one in json.loads(qsnapcmd.run('list', folder, '--json')) if one['directory'] == captured.directory]
    assert len(listed) == 1 and sorted(listed[0]['guests']) == sorted(NAMES[:captured.group.number]), listed
    assert f'group {name}  ({name})' in qsnapcmd.run('list', folder)


def assert_deleted(captured):
    """While its guests run; they are on the images that they had."""
    group = captured.group
    qsnapcmd.run('delete', captured.directory, *group.addresses())
    assert not os.path.exists(captured.directory)
    for qemu, capturer, one in zip(group.qemus, group.capturers, captured.captured):
        assert qemu.disk_files() == one.sources, qemu.disk_files()
        capturer.disk_files = one.sources
        qemu.assert_consistent()


def assert_one_after_the_other_is_not_one_instant(group):
    """That nothing is found in a group is a proof only if something is found here."""
    guests = [reverts.revert(group.qemus[index], group.capturers[index].capture()) for index in (0, 1)]
    assert too_early(guests)[0] > 0, [guest.channel.command('peer') for guest in guests]
    for guest in guests:
        guest.kill()


@test(small=1, full=10, timeout=120, shows=True)
def two_guests_at_one_instant(run):
    group = Group(run, 2)
    for qemu in group.qemus:
        qemu.work_hard(fill_mib=64)
    for _ in range(run.count):
        captured = group.capture()
        print(captured.describe(), run.version, flush=True)
        qsnapcmd.verify(captured.directory)
        assert_is_listed(captured)
        assert_comes_back(captured)
        for qemu in group.qemus:
            qemu.assert_consistent()
            qemu.assert_alive()
    assert_deleted(captured)
    assert_one_after_the_other_is_not_one_instant(group)


class Misfortune:
    """Something that befalls one of the guests, or the client, in mid-capture."""

    def __init__(self, group):
        self.group = group
        self.victim = random.randrange(group.number)
        self.kind = random.choice(['kill', 'stop', 'cancel', 'none'])
        self.delay = random.uniform(0, 0.8)

    def __str__(self):
        return f'{self.kind} {NAMES[self.victim]} after {self.delay:.2f} s'

    def befall(self, running):
        time.sleep(self.delay)
        qemu = self.group.qemus[self.victim]
        if self.kind == 'kill':
            qemu.kill()
        elif self.kind == 'stop':
            qemu.qmp('stop')
        elif self.kind == 'cancel' and running.is_running():
            running.interrupt()

    def survivors(self):
        return [index for index in range(self.group.number) if self.kind != 'kill' or index != self.victim]


def assert_all_or_none(group, misfortune, before):
    directory, running = started = group.start()
    misfortune.befall(running)
    try:
        captured = group.finish(started)
    except qsnapcmd.QsnapError as error:
        print(f'{misfortune}: {error.text[-600:]}', flush=True)
        for name in NAMES[:group.number]:
            assert_no_snapshot(os.path.join(directory, name))
        # Of a QEMU that is gone the overlay may be left to be recovered.
        assert misfortune.kind == 'kill' or not os.path.exists(directory), os.listdir(directory)
        captured = None
    else:
        print(f'{misfortune}: {captured.describe()}', flush=True)
        qsnapcmd.verify(directory)
    for index in misfortune.survivors():
        qemu = group.qemus[index]
        if misfortune.kind == 'stop' and index == misfortune.victim:
            qemu.qmp('cont')
            # QEMU closes what it was told to remove while the guest runs, when a client leaves.
            qemu.second_monitor().close()
        qemu.wait_status('running')
        if captured is None:
            # The neighbours of a QEMU that is gone have lost a connection.
            assert_as_it_was(qemu, before[index], [] if misfortune.kind != 'kill' else ['files'])
        qemu.assert_consistent()
        qemu.assert_alive()
    return captured


@test(small=1, full=25, timeout=150, shows=True, small_version='7.2')
def one_of_four_fails(run):
    """All or none; whoever is left goes on."""
    group = Group(run, 4, memory='192M')
    for _ in range(run.count):
        misfortune = Misfortune(group)
        captured = assert_all_or_none(group, misfortune, [qemu.fingerprint() for qemu in group.qemus])
        if captured:
            assert_comes_back(captured)
        if misfortune.kind == 'kill':
            for qemu in group.qemus:
                qemu.kill()
            group = Group(run, 4, memory='192M')


@test(small=1, full=8, timeout=120, shows=True, small_version='7.2')
def client_of_a_group_is_killed(run):
    """What it leaves becomes a group, or nothing."""
    group = Group(run, 2)
    for _ in range(run.count):
        before = [qemu.fingerprint() for qemu in group.qemus]
        directory, running = group.start()
        time.sleep(random.uniform(0.05, 1.2))
        running.kill()
        if not os.path.exists(directory):
            continue
        qsnapcmd.run('recover', directory, '--json')
        if not os.path.exists(directory):
            print('undone', flush=True)
            for qemu, was in zip(group.qemus, before):
                assert_as_it_was(qemu, was)
            continue
        captured = group.take_account(directory, qsnapcmd.show(directory))
        print(captured.describe(), flush=True)
        qsnapcmd.verify(directory)
        assert_comes_back(captured)
