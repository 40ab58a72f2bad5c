# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reverts that must not be: each with its own clear error, no QEMU and no directory left, the snapshot as it was."""

import contextlib
import os
import pwd
import random
import shutil
import socket
import time

import manifests
import qsnapcmd
from captures import Capturer
from reverts import assert_nothing_left, assert_reverts_to, traces
from runner import test
from running import wait_until
from test_bad_input import error_of, skip_unless_root

LARGEST_LENGTH = 0x7ffffffffffff000


class Refusals:
    """One guest and one snapshot of it, and each thing that may be wrong with it."""

    def __init__(self, run, **hardware):
        self.run = run
        self.qemu = run.boot(**hardware)
        self.qemu.work_hard(fill_mib=64, dirty='20', rate='100')
        self.captured = Capturer(run, self.qemu).capture()
        self.directory = self.captured.directory
        self.base = self.captured.bases[0]
        self.ram = os.path.join(self.directory, 'ram/pc.ram')

    def expect(self, *words, options=(), qemu_command=(), wrong=None):
        """Refused with all these words, by every way of asking."""
        separated = ['--', *qemu_command] if qemu_command else []
        with wrong or contextlib.nullcontext():
            names, before = sorted(os.listdir(self.run.folder)), traces(self.captured)
            for command in (('revert', self.directory), ('clone', self.directory, '-n', '2')):
                text = error_of(*command, *options, *separated)
                assert all(word in text for word in words), (words, text)
                assert_nothing_left(self.run, self.qemu, names)
                assert traces(self.captured) == before
                print(f'{command[0]}: {text}')

    def expect_of_forged(self, *words, change, **more):
        self.expect(*words, wrong=manifests.forged(self.directory, change), **more)

    def assert_still_sound(self):
        """Neither the guest nor the snapshot has noticed."""
        self.qemu.assert_alive()
        qsnapcmd.verify(self.directory)
        assert_reverts_to(self.qemu, self.captured, 'map')


@test(versions=('7.2',), timeout=90)
def damaged_snapshot_is_not_reverted(run):
    snapshot = Refusals(run)
    state = os.path.join(snapshot.directory, 'state')
    snapshot.expect('pc.ram', options=['--verify'], wrong=manifests.flipped(snapshot.ram, 300 << 20))
    snapshot.expect('state', wrong=manifests.flipped(state, os.path.getsize(state) // 2))
    snapshot.expect('pc.ram', wrong=manifests.truncated(snapshot.ram))
    snapshot.expect('snapshot.json',
                    wrong=manifests.flipped(os.path.join(snapshot.directory, 'snapshot.json'), 100))
    snapshot.expect(snapshot.base, wrong=manifests.renamed(snapshot.base))
    snapshot.expect(snapshot.base, wrong=manifests.touched(snapshot.base))
    snapshot.assert_still_sound()


def set_member(*path, value):
    """A change of a manifest: the member at that path."""
    def change(manifest):
        for step in path[:-1]:
            manifest = manifest[step]
        manifest[path[-1]] = value
    return change


@test(versions=('7.2',), timeout=90)
def hostile_manifest_is_not_reverted(run):
    """Whoever forges a manifest can compute its checksum, too."""
    snapshot = Refusals(run)
    block = snapshot.captured.summary['memory']['blocks'].index(
        next(one for one in snapshot.captured.summary['memory']['blocks'] if one['name'] == 'pc.ram'))
    trap = run.file('trap')
    for words, path, value in (
            (['schema'], ('schema',), 2),
            ([], ('memory', 'format'), 3),
            ([], ('memory', 'blocks', block, 'file'), '../disk0.raw'),
            ([], ('memory', 'blocks', block, 'file'), 'ram/../../disk0.raw'),
            ([], ('memory', 'blocks', block, 'name'), '../pc.ram'),
            ([], ('memory', 'blocks', block, 'name'), 'a/b'),
            ([], ('memory', 'blocks', block, 'length'), LARGEST_LENGTH),
            ([], ('memory', 'blocks', block, 'length'), -4096),
            ([], ('memory', 'state', 'device-offset'), LARGEST_LENGTH),
            ([], ('memory', 'state', 'length'), (1 << 63) - 1),
            ([], ('disks', 0, 'base', 'file'), 'disk0.raw'),
            ([], ('disks', 0, 'base', 'file'), '/dev/null'),
            ([], ('disks', 0, 'base', 'size'), (1 << 63) - 1),
            ([], ('disks', 0, 'base', 'format'), 'qcow2,backing.file.filename=/etc/passwd'),
            ([], ('disks', 0, 'size'), -1),
            ([], ('disks',), []),
            (['sh is no QEMU'], ('qemu', 'command-line'), ['/bin/sh', '-c', f'echo trapped >{trap}']),
            ([], ('qemu', 'command-line'), []),
            ([], ('qemu', 'machine'), 'q35,firmware=/etc/passwd')):
        print(path, value)
        snapshot.expect_of_forged(*words, change=set_member(*path, value=value))
        assert not os.path.exists(trap)
    snapshot.assert_still_sound()


@test(versions=('7.2',), timeout=90)
def snapshot_of_somebody_else_is_not_reverted(run):
    """Its command line would run with the rights of whoever reverts it."""
    skip_unless_root(run)
    snapshot = Refusals(run)
    nobody = pwd.getpwnam('nobody').pw_uid
    snapshot.expect('belongs to user', wrong=manifests.owned_by(nobody, snapshot.directory))
    snapshot.assert_still_sound()


@test(timeout=90, small_version='7.2')
def revert_that_qemu_refuses(run):
    """QEMU's own words are in the error."""
    snapshot = Refusals(run)
    line = snapshot.captured.summary['qemu']['command-line']
    with socket.socket() as closed:
        closed.bind(('127.0.0.1', 0))  # nobody listens
        wire = f'socket,id=wire,host=127.0.0.1,port={closed.getsockname()[1]}'
        snapshot.expect('Connection refused', qemu_command=[*line, '-chardev', wire])
    snapshot.expect('no-such-device', qemu_command=[*line, '-device', 'no-such-device'])
    snapshot.expect('virtio-rng-pci', qemu_command=[*line, '-device', 'virtio-balloon-pci', '-device', 'virtio-rng-pci,x=1'])
    snapshot.expect('/nonexistent', options=['--program', '/nonexistent/qemu'])
    snapshot.expect('/bin/true', options=['--program', '/bin/true'])
    snapshot.assert_still_sound()


@test(timeout=90, small_version='10.0')
def revert_with_other_hardware(run):
    """What QEMU says only once it has the devices' state; and what can be told before."""
    snapshot = Refusals(run)
    line = snapshot.captured.summary['qemu']['command-line']
    snapshot.expect('memory', qemu_command=['256M' if word == '512M' else word for word in line])
    snapshot.expect(snapshot.base, qemu_command=without_disks(line))
    snapshot.expect('disk', qemu_command=[*line, '-drive', f'if=virtio,file={run.file("other.raw")},format=raw'])
    snapshot.expect('', qemu_command=['q35,accel=tcg,smm=off,vmport=off' if word.startswith('q35') else word
                                      for word in line if word != '-nodefaults'])
    snapshot.assert_still_sound()


def without_disks(line):
    first = next(index for index, word in enumerate(line) if word.startswith('if=virtio'))
    return line[:first - 1] + line[first + 1:]


@test(small=3, full=25, timeout=90, small_version='7.2')
def interrupt_while_reverting(run):
    """Ctrl-C at any time: the guest is back, or nothing of it is there."""
    snapshot = Refusals(run)
    names, before = sorted(os.listdir(run.folder)), traces(snapshot.captured)
    interrupted = 0
    for number in range(4 * run.count):
        directory = run.file('revert')
        running = qsnapcmd.Running('revert', snapshot.directory, '--method', 'load', '--directory', directory)
        reached = os.path.join(directory, ('qemu.log', 'qsnap.sock')[number % 2])
        wait_until(lambda: os.path.exists(reached) or not running.is_running(), 30, 'QEMU to be started', interval=0.001)
        time.sleep(random.random() / 10)
        running.interrupt()
        try:
            answer = running.finish()
            qsnapcmd.quit_qemu(answer['address'])
            shutil.rmtree(directory)
        except qsnapcmd.QsnapError as error:
            assert error.status == 1 and error.text, error
            interrupted += 1
        assert_nothing_left(run, snapshot.qemu, names)
        if interrupted >= run.count:
            break
    assert interrupted > 0, 'none of the interrupts came early enough'
    assert traces(snapshot.captured) == before
    snapshot.assert_still_sound()


@test(versions=('7.2',), timeout=90)
def directory_of_the_revert_is_in_use(run):
    """What is there already is nobody's business of ours."""
    snapshot = Refusals(run)
    used = run.file('used')
    os.mkdir(used)
    with open(os.path.join(used, 'mine'), 'w', encoding='ascii') as file:
        file.write('mine')
    text = error_of('revert', snapshot.directory, '--directory', used)
    assert used in text and 'empty' in text, text
    assert 'mine' in error_of('revert', snapshot.directory, '--directory', os.path.join(used, 'mine'))
    assert os.listdir(used) == ['mine']
    assert run.file('absent') in error_of('revert', snapshot.directory, '--directory', run.file('absent/revert'))
    assert not os.path.exists(run.file('absent'))
    long_name = run.file('long' * 25)
    assert long_name in error_of('revert', snapshot.directory, '--directory', long_name)
    assert not os.path.exists(long_name)
    snapshot.assert_still_sound()


@test(versions=(), timeout=30)
def wrong_usage_of_revert(run):
    for arguments in (('revert',), ('clone',), ('quit',), ('clone', run.folder), ('clone', run.folder, '-n', '0'),
                      ('revert', run.folder, '--method', 'nonsense')):
        try:
            qsnapcmd.run(*arguments)
            raise AssertionError(f'{arguments} is no usage')
        except qsnapcmd.QsnapError as error:
            assert error.status == 2 and error.text, error
    assert run.folder in error_of('revert', run.folder)
    assert run.file('absent') in error_of('revert', run.file('absent'))
    assert run.file('absent') in error_of('quit', run.file('absent'))
