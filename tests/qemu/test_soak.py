# SPDX-License-Identifier: LGPL-2.1-or-later
"""One guest, captured again and again with whatever may go wrong at random: nothing adds up, and nothing is lost.

One application (soaking_application.py) makes all captures but those in which the application itself is killed. What it
did not settle itself it recovers, and it deletes the snapshots, so that the guest's chain comes back to its start."""

import contextlib
import json
import os
import random
import select
import signal
import subprocess

import crashes
import faults
import growth
import harness
import processes
import qsnapcmd
from captures import assert_as_it_was
from runner import test
from test_python import PYTHON
from test_recover import NOTHING, Victim

SOAKING = os.path.join(harness.HERE, 'soaking_application.py')
TIMEOUT_MS = 3000    # for an answer that is swallowed
LONGEST = 2          # seconds, about what a capture takes here
LONGEST_CHAIN = 3    # snapshots that stand on each other before they are deleted
SMALL = '40M'        # less than the guest's memory
# So that malloc knows of every byte in use, and keeps none for later: neither Python, nor GLib, nor a thread.
ONE_HEAP = {'PYTHONMALLOC': 'malloc', 'G_SLICE': 'always-malloc', 'MALLOC_ARENA_MAX': '1',
            'GLIBC_TUNABLES': 'glibc.malloc.tcache_count=0'}
WARM_UP = 10         # captures, after which nothing is to grow
QEMU_MAY_GROW_KIB = 8 << 10
APPLICATION_MAY_GROW_KIB = 2 << 10
HEAP_MAY_GROW_KIB = 512     # PyGObject itself keeps some 300 bytes of each asynchronous call of any library


class Application:
    """It lives through all of it, in a process group of its own."""

    def __init__(self, qemu, address):
        environment = dict(os.environ, QSNAP_TEST_PEER=str(qemu.pid), **ONE_HEAP)
        if faults.interposer():
            environment['LD_PRELOAD'] = faults.interposer()
        self._process = processes.start([PYTHON, SOAKING, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True)
        if not self._process.stdout.readline():
            complaint = self._process.stderr.read()
            if 'Namespace Qsnap not available' in complaint:
                raise harness.Skip('no typelib in reach: run it through tests/run or meson devenv')
            raise RuntimeError(complaint)

    @property
    def pid(self):
        return self._process.pid

    def begin(self, what, **request):
        self._process.stdin.write(json.dumps({'do': what, **request}) + '\n')
        self._process.stdin.flush()

    def has_answered(self, timeout=0):
        return bool(select.select([self._process.stdout], [], [], timeout)[0])

    def end(self):
        assert self.has_answered(qsnapcmd.TIMEOUT), 'the application does not answer'
        line = self._process.stdout.readline()
        assert line, f'the application has ended: {self._process.stderr.read()}'
        return json.loads(line)

    def ask(self, what, **request):
        self.begin(what, **request)
        return self.end()

    def interrupt(self):
        os.kill(self.pid, signal.SIGINT)

    def kill_saver(self):
        saver = crashes.saver_of(self.pid)
        if saver:
            saver.kill()
            saver.close()


class Attempt:
    """What a Victim wants to know of a capture."""

    def __init__(self, directory):
        self.directory = directory


class Soak:
    """The guest, who captures it, and the account of what they did."""

    def __init__(self, run):
        self.run = run
        self.qemu = run.boot(run.disks(2))
        self.ram = growth.largest_mapping(self.qemu.pid)
        self.qemu.work_hard(fill_mib=128)
        self.victim = Victim(run, self.qemu)
        self.proxy = faults.Proxy(run.file('proxy.sock'), self.qemu.qmp_path)
        self.application = Application(self.qemu, self.proxy.path)
        self.small = run.file('small') if processes.mount_tmpfs(run.file('small'), SMALL) else None
        self._chain = []
        self._counters = self.qemu.counters()
        self.fingerprint = self.qemu.fingerprint()
        self.targets = self._learn_targets()

    def _learn_targets(self):
        """Every command of a capture without a fault, as (command, nth)."""
        self.begin()
        assert self.application.has_answered(qsnapcmd.TIMEOUT)
        commands = self.proxy.commands
        self.take(self.end())
        self.delete_all()
        return [(command, commands[:index + 1].count(command)) for index, command in enumerate(commands)]

    def wait_alone(self):
        """QEMU closes the descriptors of a client that has gone in its own time."""
        sockets = self.fingerprint['files'].count('socket')
        harness.wait_until(lambda: self.qemu.open_files().count('socket') == sockets, 10, 'QEMU to be alone')

    # A capture by the application

    def begin(self, target=(), fault=None, folder=None, **request):
        self.victim.note()
        directory = self.victim.capturer.next_directory()
        if folder:
            directory = os.path.join(folder, os.path.basename(directory))
        self.proxy.reset(*target, fault=fault)
        self.application.begin('capture', directory=directory, **request)
        self._attempt = Attempt(directory)

    def end(self):
        """The snapshot; None: it was undone."""
        answer = self.application.end()
        self.proxy.reset()
        if 'error' in answer and os.path.exists(f'{self._attempt.directory}/journal.json'):
            assert any(words in answer['error'] for words in ('snapshot is complete', 'could not be undone')), answer
            answer = self.application.ask('recover', directory=self._attempt.directory)
            assert 'error' not in answer, answer
        if not answer.get('sealed'):
            self.victim.assert_undone(self._attempt)
            return None
        return self.victim.take_sealed(self._attempt, qsnapcmd.show(self._attempt.directory))

    def capture(self, **how):
        self.begin(**how)
        return self.end()

    # The chain

    def take(self, captured):
        """Into the account; the counters of the guest have gone on."""
        counters = self.qemu.counters()
        assert all(new > old for new, old in zip(counters, self._counters)), (self._counters, counters)
        self._counters = counters
        if captured:
            self._chain.append(captured)
        if len(self._chain) >= LONGEST_CHAIN:
            self.delete_all()

    def delete_all(self):
        """The newest first; the guest is on the images that it had."""
        for captured in reversed(self._chain):
            answer = self.application.ask('delete', directory=captured.directory)
            assert answer == {'deleted': True}, answer
            self.victim.capturer.disk_files = captured.bases
        self._chain = []
        assert not crashes.overlays_in(self.run.folder), crashes.overlays_in(self.run.folder)
        assert sorted(self.qemu.disk_files()) == sorted(disk.path for disk in self.qemu.hardware.disks)
        self.qemu.assert_alive()

    # What it has come to

    def holdings(self):
        """Of QEMU and of the application, and what is in use of the application's heap, with the chain at its start."""
        self.delete_all()
        assert_as_it_was(self.qemu, self.fingerprint)
        heap = self.application.ask('tidy')['heap'] >> 10
        return growth.holdings(self.qemu.pid, self.ram), growth.holdings(self.application.pid), heap


# What happens; each answers with the snapshot, or None

def nothing(soak):
    captured = soak.capture()
    assert captured, 'it has failed'
    return captured


def some_time():
    return random.random() * LONGEST


def cancel(soak):
    """From another thread."""
    return soak.capture(**{'cancel-after': some_time()})


def interrupt(soak):
    soak.begin()
    if not soak.application.has_answered(some_time()):
        soak.application.interrupt()
    return soak.end()


def saver_dies(soak):
    soak.begin()
    if not soak.application.has_answered(some_time()):
        soak.application.kill_saver()
    return soak.end()


def qemu_fails(soak):
    fault = random.choice(faults.FAULTS)
    request = {'timeout-ms': TIMEOUT_MS} if fault == faults.NO_REPLY else {}
    return soak.capture(target=random.choice(soak.targets), fault=fault, **request)


def sync_fails(soak):
    """In the saver; it may not come to the last."""
    return soak.capture(sync=f'qsnap-saver:{random.randint(1, 5)}')


def no_room(soak):
    if soak.small is None:
        return soak.capture()
    captured = soak.capture(folder=soak.small)
    assert captured is None, 'there was room'
    return captured


def dies_alone(soak, *victims):
    """A qsnap of its own, killed with or without its saver."""
    victim = soak.victim
    doomed = victim.begin()
    with contextlib.suppress(subprocess.TimeoutExpired):
        doomed.process.wait(some_time())
    doomed.find_saver()
    doomed.kill_application()
    if 'saver' in victims:
        doomed.kill_saver()
    if os.path.exists(os.path.join(doomed.directory, 'journal.json')):
        return victim.recover(doomed)
    answer = doomed.answer_if_any()
    if answer:
        return victim.take_sealed(doomed, answer)
    if os.path.isdir(doomed.directory):
        crashes.assert_recover_fails(doomed.directory, NOTHING)
        os.rmdir(doomed.directory)
    # Killed while it tried whether the peer is QEMU, it left a pipe there, until somebody tries again.
    qsnapcmd.check(soak.qemu.qmp_path)
    victim.assert_undone(doomed)
    return None


def application_dies(soak):
    return dies_alone(soak)


def both_die(soak):
    return dies_alone(soak, 'saver')


EVENTS = (nothing, cancel, interrupt, saver_dies, qemu_fails, qemu_fails, qemu_fails, sync_fails, no_room, application_dies,
          both_die)


def go_on(soak, numbers, outcomes):
    for number in numbers:
        event = random.choice(EVENTS)
        soak.wait_alone()
        captured = event(soak)
        soak.take(captured)
        outcome = 'sealed' if captured else 'undone'
        outcomes[event.__name__, outcome] = outcomes.get((event.__name__, outcome), 0) + 1
        print(f'{number}: {event.__name__} | {soak.run.version} | {outcome}', flush=True)


@test(small=6, full=200, timeout=150, shows=True)
def recover_soak(run):
    soak = Soak(run)
    warm_up = min(WARM_UP, run.count // 2)
    outcomes = {}
    go_on(soak, range(warm_up), outcomes)
    before = soak.holdings()
    go_on(soak, range(warm_up, run.count), outcomes)
    after = soak.holdings()
    soak.qemu.assert_consistent()

    print(f'QEMU {run.version}, {run.count} captures: ' +
          ', '.join(f'{event} {outcome} {number}' for (event, outcome), number in sorted(outcomes.items())))
    growth.assert_has_not_grown('QEMU', before[0], after[0], QEMU_MAY_GROW_KIB)
    growth.assert_has_not_grown('application', before[1], after[1], APPLICATION_MAY_GROW_KIB)
    print(f'application: {before[2]} KiB of its heap in use, at the end {after[2]}')
    assert after[2] - before[2] < HEAP_MAY_GROW_KIB, f'the heap: {before[2]} KiB became {after[2]}'
