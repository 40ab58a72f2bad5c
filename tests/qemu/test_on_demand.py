# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that run while their memory is still on disk."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import harness
import manifests
import processes
import qsnapcmd
from captures import Capturer
from harness import wait_until
from reverts import Reverted, clone, fingerprint, hardware_of, revert
from runner import test

APPLICATION = os.path.join(harness.HERE, 'on_demand_application.py')
PYTHON = '/usr/bin/python3'
PAGE = 4096


def boot_and_capture(run, fill_mib=200, **hardware):
    qemu = run.boot(run.disks(2), **hardware)
    qemu.work_hard(fill_mib=fill_mib)
    return qemu, Capturer(run, qemu).capture()


def has_settled(guest):
    return guest.migration().get('status') == 'completed'


def wait_settled(guest, timeout=60):
    wait_until(lambda: has_settled(guest), timeout, 'all memory to be there')
    record = os.path.join(guest.answer['directory'], 'revert.json')
    wait_until(lambda: not os.path.exists(record), 10, 'the record of the revert to be removed')
    wait_until(lambda: not processes.page_servers_of(guest.answer['directory']), 10, 'the page server to end')


class NotBroughtBack(Exception):
    """args[0] is what the application said."""


class Application:
    """An application that stays; see on_demand_application.py."""

    def __init__(self, run, qemu, captured):
        self.directory = run.file('application')
        self.process = processes.start([PYTHON, APPLICATION, captured.directory, self.directory], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        self.said = []
        running = self.hear('running')
        assert running['method'] == 'on-demand' and running['phase'] == 'fetching', running
        answer = {'pid': running['pid'], 'directory': self.directory, 'address': f'{self.directory}/qsnap.sock', 'method': 'on-demand'}
        self.guest = Reverted(hardware_of(qemu.hardware, captured, self.directory, qemu.version), answer, qemu.boot_id)

    def hear(self, event):
        """The next event of that kind; the others are kept."""
        while True:
            line = self.process.stdout.readline()
            assert line, f'the application has ended, and said {self.said}'
            self.said.append(json.loads(line))
            if self.said[-1]['event'] == event:
                return self.said[-1]
            if self.said[-1]['event'] == 'not-brought-back':
                raise NotBroughtBack(self.said[-1])
            assert self.said[-1]['event'] != 'closed', f'QEMU has gone, and the application said {self.said}'

    def tell(self, *words):
        print(*words, file=self.process.stdin, flush=True)

    def page_server(self):
        """The test is skipped if it has done its work already: on a machine that is busy with something else."""
        servers = processes.page_servers_of(self.directory)
        if not servers:
            assert self.hear('settled')
            raise harness.Skip('the guest had settled before the test could do anything')
        return servers[0]

    def end(self):
        self.tell('quit')
        self.hear('ended')
        assert self.process.wait(30) == 0
        assert not processes.qemus_of(self.directory) and not processes.page_servers_of(self.directory)


class Held:
    """A page server that gives nothing, so that what happens meanwhile can be looked at."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        os.kill(self.server.pid, signal.SIGSTOP)
        return self.server

    def __exit__(self, *_):
        if not self.server.has_ended():
            os.kill(self.server.pid, signal.SIGCONT)


# Settling

@test(timeout=90, small_version='10.0')
def settles_and_can_be_captured(run):
    """While its memory comes in, a capture is refused with that reason; after it, the snapshot is not needed any more."""
    qemu, captured = boot_and_capture(run)
    before = fingerprint(captured)
    qemu.kill()
    application = Application(run, qemu, captured)
    with Held(application.page_server()):
        application.tell('capture', run.file('too-early'))
        refusal = application.hear('refused')
        assert 'still being brought in' in refusal['message'], refusal
        assert os.path.exists(os.path.join(application.directory, 'revert.json'))
    assert application.hear('settled')['phase'] == 'idle'
    wait_settled(application.guest)
    assert fingerprint(captured) == before
    shutil.rmtree(os.path.join(captured.directory, 'ram'))
    application.guest.assert_came_back()

    application.tell('capture', run.file('again'))
    application.hear('captured')
    qsnapcmd.verify(run.file('again'))
    application.guest.assert_alive()
    application.end()


@test(small=2, full=10, timeout=90)
def generations_of_reverts_and_captures(run):
    """Each is captured of the one before it, on demand from the first to the last."""
    guest, captured = boot_and_capture(run, fill_mib=64)
    for generation in range(run.count):
        guest, older = revert(guest, captured, method='on-demand'), guest
        older.kill()
        guest.assert_came_back()
        wait_settled(guest)
        guest.work_hard(fill_mib=64)
        captured = Capturer(run, guest).capture()
        print(f'generation {generation}: load {guest.answer["load-us"]} us')
    guest.assert_alive()
    guest.assert_consistent()


@test(timeout=90, small_version='7.2')
def clones_on_demand(run):
    qemu, captured = boot_and_capture(run, fill_mib=64)
    clones = clone(qemu, captured, 2, method='on-demand')
    for one in clones:
        one.assert_came_back()
        wait_settled(one)
    for one in (qemu, *clones):
        one.assert_alive()
        one.assert_consistent()


@test(timeout=60, small_version='7.2')
def application_lets_go_of_the_guest(run):
    """The guest gets all of its memory, with nobody there who asked for it."""
    qemu, captured = boot_and_capture(run)
    application = Application(run, qemu, captured)
    with Held(application.page_server()):
        os.kill(application.process.pid, signal.SIGKILL)
        application.process.wait()
    wait_settled(application.guest)
    application.guest.assert_came_back()


@test(timeout=60, small_version='10.0')
def guest_is_ended_before_it_has_settled(run):
    qemu, captured = boot_and_capture(run)
    application = Application(run, qemu, captured)
    with Held(application.page_server()):
        application.tell('quit')
        application.hear('ended')
    wait_until(lambda: not processes.page_servers_of(application.directory), 10, 'the page server to end')
    assert not [event for event in application.said if event['event'].startswith('settle')], application.said
    qemu.assert_alive()


# The page server dies

def kill_a_page_server(folder):
    """FALSE if there is none any more."""
    servers = processes.page_servers_of(folder)
    for server in servers:
        server.kill()
    return bool(servers)


@test(small=3, full=50, timeout=120)
def page_server_is_killed(run):
    """At random moments, up to three times in a revert, with nobody left but `qsnap recover`."""
    qemu, captured = boot_and_capture(run)
    qemu.kill()
    killed = 0
    for number in range(run.count):
        guest = revert(qemu, captured, method='on-demand')
        directory = guest.answer['directory']
        time.sleep(random.random() * 0.3 if number else 0)
        for _ in range(3):
            if not kill_a_page_server(directory) or not os.path.exists(os.path.join(directory, 'revert.json')):
                break
            killed += 1
            # The guest comes to a standstill, and perhaps QEMU's main loop as well.
            time.sleep(random.random() * 0.3)
            qsnapcmd.run('recover', directory)
            time.sleep(random.random() * 0.1)
        wait_settled(guest)
        guest.assert_came_back()
        guest.kill()
    assert killed > 0
    print(f'{killed} page servers killed in {run.count} reverts')


@test(small=1, full=10, timeout=60, small_version='7.2')
def page_server_is_killed_beside_its_application(run):
    """The session lets another one go on by itself."""
    qemu, captured = boot_and_capture(run)
    qemu.kill()
    killed = 0
    for number in range(run.count):
        application = Application(run, qemu, captured)
        killed += kill_a_page_server(application.directory)
        if number % 2:
            time.sleep(random.random() * 0.1)
            killed += kill_a_page_server(application.directory)
        assert application.hear('settled')['phase'] == 'idle'
        wait_settled(application.guest)
        application.guest.assert_came_back()
        application.end()
        shutil.rmtree(application.directory)
    if not killed:
        run.skip('each guest had settled before its page server could be killed')
    print(f'{killed} page servers killed in {run.count} reverts')


@test(timeout=60, small_version='7.2')
def recover_has_nothing_to_do(run):
    """While the page server lives; after the guest has ended; where there is no record."""
    qemu, captured = boot_and_capture(run)
    guest = revert(qemu, captured, method='on-demand')
    directory = guest.answer['directory']
    with Held(processes.page_servers_of(directory)[0]) as server:
        assert f'process {server.pid}' in failure('recover', directory)
        server.kill()
    guest.kill()
    assert 'the guest has ended' in failure('recover', directory)
    assert 'nothing to recover' in failure('recover', directory)
    qemu.assert_alive()


def failure(*arguments):
    try:
        qsnapcmd.run(*arguments)
    except qsnapcmd.QsnapError as error:
        return error.text
    raise AssertionError(f'qsnap {arguments} did not fail')


# Damage

def flip_a_late_page(directory):
    """A byte of a page that is not zero and that the guest is not likely to need to begin with; its offset."""
    path = os.path.join(directory, 'ram/pc.ram')
    with open(path, 'r+b') as file:
        offset = file.seek(0, os.SEEK_END) * 3 // 4 // PAGE * PAGE
        while not any(os.pread(file.fileno(), PAGE, offset)):
            offset += PAGE
        byte = os.pread(file.fileno(), 1, offset)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), offset)
    return offset


@test(timeout=90, small_version='7.2')
def damaged_page_is_never_served(run):
    """The session says where, and ends the guest when it is told to, though QEMU may not hear any more."""
    qemu, captured = boot_and_capture(run, fill_mib=300)
    qemu.kill()
    offset = flip_a_late_page(captured.directory)
    try:
        application = Application(run, qemu, captured)
        told = application.hear('settle-failed')
    except NotBroughtBack as early:
        # On a machine that is busy with something else the guest does not run before all is there but that page.
        application, told = None, early.args[0]
    assert 'pc.ram' in told['message'] and f'0x{offset:x}' in told['message'] and told['domain'] == 'qsnap-error-quark', told
    if application is None:
        assert not processes.page_servers_of(run.file('application'))
        return
    time.sleep(0.5)
    application.end()
    assert 'settled' not in [event['event'] for event in application.said]


@test(timeout=60, small_version='10.0')
def another_snapshot_is_not_gone_on_with(run):
    """What lies where the snapshot was has other pages."""
    qemu, captured = boot_and_capture(run, fill_mib=64)
    guest = revert(qemu, captured, method='on-demand')
    directory = guest.answer['directory']
    for server in processes.page_servers_of(directory):
        os.kill(server.pid, signal.SIGSTOP)
        server.kill()
    if has_settled(guest):
        run.skip('it has settled before the page server was killed')
    with manifests.forged(captured.directory, lambda manifest: manifest.update(id='0' * 32)):
        assert 'not the snapshot' in failure('recover', directory)
    qsnapcmd.run('recover', directory)
    wait_settled(guest)
    guest.assert_came_back()


# Large pages

def reserve_huge_pages(run, number):
    path = '/proc/sys/vm/nr_hugepages'
    with open(path, encoding='ascii') as file:
        before = int(file.read())
    if not os.access(path, os.W_OK):
        run.skip('huge pages cannot be reserved')
    with open(path, 'w', encoding='ascii') as file:
        file.write(str(before + number))
    with open(path, encoding='ascii') as file:
        got = int(file.read()) - before
    return before, got


@test(timeout=90, alone=True, small_version='7.2')
def revert_of_huge_pages(run):
    """Whole host pages at a time."""
    before, got = reserve_huge_pages(run, 2 * 192 + 8)
    try:
        if got < 2 * 192:
            run.skip('not enough huge pages are free')
        memory = ['-object', 'memory-backend-memfd,id=ram0,size=384M,hugetlb=on,hugetlbsize=2M,prealloc=off', '-machine', 'memory-backend=ram0']
        qemu = run.boot(memory='384M', extra=memory)
        qemu.work_hard(fill_mib=64)
        captured = Capturer(run, qemu).capture()
        qemu.kill()
        guest = revert(qemu, captured, method='on-demand')
        assert guest.method == 'on-demand'
        guest.assert_came_back()
        wait_settled(guest)
        guest.kill()
    finally:
        processes.clean_up()
        with open('/proc/sys/vm/nr_hugepages', 'w', encoding='ascii') as file:
            file.write(str(before))
