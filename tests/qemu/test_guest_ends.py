# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's kernel panics (a real pvpanic), or its watchdog barks (a real i6300esb), in each phase of a capture: the
snapshot is sound or undone, and afterwards QEMU has done what it would have done without a capture.

Debian's cloud kernel has a driver for pvpanic, but for no watchdog of QEMU's: the worker in the guest drives it itself, as
far as to let it bark (tests/guest/watchdog.c)."""

import dataclasses
import itertools
import os
import random
import time

import harness
from captures import assert_is_sealed, assert_reverts
from crashes import overlays_in, recover
from harness import wait_until
from qmp import QmpClosed
from runner import test
from test_recover import Victim

# Where the application is held meanwhile; from the saving on the snapshot is whole.
POINTS = {
    'preparing': 'after:blockdev-add:2',
    'held': 'after:set-action',
    'starting': 'after:migrate',
    'saving': 'after:journal.json:3',
    'settling': 'before:set-action:2',
    'settled': 'after:set-action:2',
    'sealing': 'before:snapshot.json',
}
AFTER_SAVING = ('settling', 'settled', 'sealing')


@dataclasses.dataclass
class Ending:
    """What the guest is told, what QEMU says, what becomes of the guest."""
    command: str
    event: str
    hardware: list
    ends: bool = False      # QEMU
    status: str = 'running'
    no_reboot: bool = False
    at_once: bool = False   # ends it whatever it was told to do with a shutdown

    def is_sealed(self, phase):
        """Whether there has to be a snapshot."""
        return phase in AFTER_SAVING or (phase == 'saving' and not self.at_once)


PVPANIC = ['-device', 'pvpanic']
WATCHDOG = ['-device', 'i6300esb']

ENDINGS = {
    'panic': Ending('panic', 'GUEST_PANICKED', PVPANIC, ends=True),
    'watchdog': Ending('watchdog 20', 'WATCHDOG', WATCHDOG),
    'panic=pause': Ending('panic', 'GUEST_PANICKED', [*PVPANIC, '-action', 'panic=pause'], status='guest-panicked'),
    'watchdog, -no-reboot': Ending('watchdog 20', 'WATCHDOG', WATCHDOG, ends=True, no_reboot=True),
    'watchdog=poweroff': Ending('watchdog 20', 'WATCHDOG', [*WATCHDOG, '-action', 'watchdog=poweroff'], ends=True, at_once=True),
    'watchdog=pause': Ending('watchdog 20', 'WATCHDOG', [*WATCHDOG, '-action', 'watchdog=pause'], status='watchdog'),
}


def wait_for_the_end(qemu, ending, mark):
    """Where the guest runs at all while the application is held; else it comes later."""
    try:
        if qemu.qmp('query-status')['running']:
            qemu.monitor.wait_event(ending.event, mark, 20)
    except QmpClosed:
        assert qemu.wait_exit(30) == 0


def assert_ended(qemu):
    """By itself, or by qsnap at the end."""
    assert qemu.wait_exit(30) == 0, qemu.stderr()


def assert_went_on(qemu, ending, phase):
    """7.2 has to start a guest that stopped itself behind the gate (it would abort); it is stopped again."""
    wanted = [ending.status] if ending.status == 'running' or phase != 'starting' else [ending.status, 'paused']
    wait_until(lambda: qemu.status() in wanted, 20, f'the guest to be {wanted}: it is {qemu.status()}')
    if ending.status == 'running':
        qemu.wait_ready(boots=2)
        qemu.assert_alive()


def outcome_of(victim, doomed, folder, ending):
    """The snapshot, or None; with nothing left of one that was undone."""
    captured = None
    answer = doomed.answer()
    if ending.ends:
        assert_ended(victim.qemu)
    if answer is None and os.path.exists(doomed.directory):
        answer = recover(doomed.directory, None if ending.ends else victim.qemu.qmp_path)
    if answer and answer.get('sealed', True):
        captured = victim.capturer.take_account(answer, doomed.directory)
        assert_is_sealed(doomed.directory)
    else:
        assert not os.path.exists(doomed.directory), os.listdir(doomed.directory)
        assert not overlays_in(folder), overlays_in(folder)
    return captured


def try_ending(run, name, phase):
    """One guest, one capture, one end."""
    ending = ENDINGS[name]
    folder = run.file(f'{name}-{phase}'.replace(', ', '-'))
    os.mkdir(folder)
    disks = [harness.Disk(harness.create_disk(f'{folder}/disk0.raw'))]
    qemu = run.boot(disks, extra=ending.hardware, no_reboot=ending.no_reboot)
    qemu.work_hard(fill_mib=200 if phase == 'saving' else 32)
    capabilities = qemu.capabilities()
    victim = Victim(run, qemu)
    doomed = victim.begin(POINTS[phase])
    mark = qemu.monitor.mark()
    qemu.channel.send(ending.command)
    wait_for_the_end(qemu, ending, mark)
    started = time.monotonic()
    doomed.go_on()
    captured = outcome_of(victim, doomed, folder, ending)
    seconds = time.monotonic() - started
    if not ending.ends:
        assert_went_on(qemu, ending, phase)
        assert qemu.capabilities() == capabilities
    qemu.kill()
    assert captured or not ending.is_sealed(phase), 'undone'
    if ending.is_sealed(phase):
        assert_reverts(qemu, captured)
    return f'{"sealed" if captured else "undone"} {seconds:.1f}'


def chosen(count):
    everything = list(itertools.product(ENDINGS, POINTS))
    if count >= len(everything):
        return everything
    return [(name, random.choice(list(POINTS))) for name in itertools.islice(ENDINGS, count)]


@test(small=2, full=len(ENDINGS) * len(POINTS), timeout=120, shows=True)
def guest_ends_in_every_phase(run):
    """Each cell is tried, and what is wrong is told at the end."""
    wrong = []
    for name, phase in chosen(run.count):
        try:
            outcome = try_ending(run, name, phase)
        except Exception as error:  # pylint: disable=broad-except
            wrong.append(f'{name}, {phase}: {type(error).__name__} {error}')
            outcome = 'WRONG'
        print(f'{name} | {phase} | {run.version} | {outcome}', flush=True)
    assert not wrong, '\n'.join(wrong)
