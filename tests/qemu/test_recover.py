# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everybody dies in turn, in every phase of a capture: nothing is lost, and the guest goes on."""

import os
import random

import crashes
import harness
import qsnapcmd
from captures import Capturer, assert_as_it_was, assert_is_sealed, assert_no_snapshot, assert_reverts
from crashes import DoomedSnapshot, assert_recover_fails, recover
from runner import test
from test_capture import boot_with_slow_save

# A point of the capture, and whether its memory can be completed by a saver that lives on.
POINTS = {
    'preparing': ['after:journal.json', 'after:add-fd', 'after:add-fd:2', 'after:blockdev-add', 'before:blockdev-create',
                  'after:blockdev-create', 'after:blockdev-add:2', 'after:getfd:2', 'after:getfd:3', 'after:set-action'],
    'pausing': ['after:journal.json:2', 'after:migrate-set-capabilities:2', 'after:stop', 'before:transaction',
                'after:transaction', 'before:migrate', 'after:migrate', 'before:query-migrate-capabilities:2'],
    'saving': ['before:journal.json:3', 'after:journal.json:3'],
    'settling': ['before:migrate-set-capabilities:3', 'after:migrate-set-capabilities:3', 'after:set-action:2', 'after:closefd:2'],
    'sealing': ['after:journal.json:4', 'before:snapshot.json', 'after:snapshot.json'],
}


def nothing_is_left(run, qemu, before, files, directory):
    assert not os.path.exists(directory), os.listdir(directory)
    assert crashes.overlays_in(run.folder) == files, (files, crashes.overlays_in(run.folder))
    assert_as_it_was(qemu, before)


class Matrix:
    """One guest, killed captures one after the other; each leaves it as it was, or with one sealed snapshot more."""

    def __init__(self, run, qemu):
        self._run = run
        self._qemu = qemu
        self._capturer = Capturer(run, qemu)

    def kill(self, point, victims):
        before = self._qemu.fingerprint()
        files = crashes.overlays_in(self._run.folder)
        doomed = DoomedSnapshot(self._qemu, self._capturer.next_directory(), point)
        if 'application' in victims:
            doomed.kill_application()
        if 'saver' in victims:
            doomed.kill_saver()
        answer = recover(doomed.directory, self._qemu.qmp_path, timeout=60)
        outcome = self._judge(answer, doomed, before, files)
        assert_recover_fails(doomed.directory, 'there is nothing to recover', address=self._qemu.qmp_path)
        self._qemu.assert_alive()
        return outcome

    def _judge(self, answer, doomed, before, files):
        if not answer['sealed']:
            nothing_is_left(self._run, self._qemu, before, files, doomed.directory)
            return 'undone'
        captured = crashes.captured_of(self._capturer, answer, doomed.directory)
        assert_is_sealed(captured.directory)
        assert not os.path.exists(os.path.join(captured.directory, 'journal.json'))
        after = self._qemu.fingerprint()
        for same in ('capabilities', 'parameters', 'jobs', 'status'):
            assert before[same] == after[same], (same, before[same], after[same])
        assert '' not in after['files'] and after['files'].count('pipe') == before['files'].count('pipe'), after['files']
        return 'sealed'


def run_matrix(run, victims):
    qemu = run.boot(run.disks(2))
    qemu.work_hard(fill_mib=64)
    matrix = Matrix(run, qemu)
    points = [(phase, point) for phase, points in POINTS.items() for point in points]
    step = len(points) // run.count
    for phase, point in points[random.randrange(step)::step]:
        outcome = matrix.kill(point, victims)
        print(f'{"+".join(victims)} killed, {phase}, {point}, QEMU {run.version}: {outcome}', flush=True)
    qemu.assert_consistent()


@test(small=9, full=27, timeout=90)
def application_is_killed_at_every_step(run):
    run_matrix(run, ['application'])


@test(small=9, full=27, timeout=90)
def application_and_saver_are_killed_at_every_step(run):
    run_matrix(run, ['application', 'saver'])
