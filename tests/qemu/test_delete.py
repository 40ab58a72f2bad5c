# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deleting snapshots: what the guest wrote since is in its first image again, and nothing that is needed goes."""

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import time

import harness
import processes
import qsnapcmd
import reverts
from captures import Capturer, assert_as_it_was
from harness import wait_until
from manifests import touched
from runner import test


def delete(*arguments):
    return json.loads(qsnapcmd.run('delete', *arguments, '--json'))


def assert_refused(arguments, *words):
    try:
        delete(*arguments)
    except qsnapcmd.QsnapError as error:
        assert error.status == 1 and all(word in error.text for word in words), (words, error)
        return
    raise AssertionError('deleted')


def overlays_in(run):
    return [name for name in os.listdir(run.folder) if '.qsnap-' in name]


def boot_again(qemu, paths):
    """The guest's disks as they are now, in a machine that starts anew."""
    hardware = copy.deepcopy(qemu.hardware)
    for disk, path in zip(hardware.disks, paths, strict=True):
        disk.path, disk.format = path, harness.disk_format(path)
    return harness.boot(hardware)


# The guest runs

@test(small=3, full=12, timeout=90, small_version='7.2')
def delete_newest_first(run):
    """Flat out, until the chain is what it was in the beginning."""
    qemu = run.boot(run.disks(2))
    before = qemu.fingerprint()
    qemu.work_hard(fill_mib=32, dirty='20')
    capturer = Capturer(run, qemu)
    captured = [capturer.capture() for _ in range(run.count)]
    assert_refused([captured[-1].directory], 'is open in a QEMU')
    for one in reversed(captured):
        answer = delete(one.directory, qemu.qmp_path)
        assert [disk['file'] for disk in answer['disks']] == one.bases, (answer, one.bases)
        assert not os.path.exists(one.directory) and not any(map(os.path.exists, one.overlays)), os.listdir(run.folder)
        assert sorted(qemu.disk_files()) == sorted(one.bases), (qemu.disk_files(), one.bases)
        qemu.assert_alive()
    assert not overlays_in(run), os.listdir(run.folder)
    qemu.assert_consistent()
    assert_as_it_was(qemu, before)

    again = Capturer(run, qemu).capture()
    qemu.qmp('stop')
    delete(again.directory, qemu.qmp_path)
    assert qemu.status() == 'paused' and not overlays_in(run), qemu.status()
    qemu.qmp('cont')
    qemu.assert_alive()
    qemu.assert_consistent()


@test(small=1, full=5, timeout=150, small_version='10.0')
def delete_any(run):
    """The oldest, and one in the middle, under a guest that writes flat out, then with none: those that are left come back."""
    for _ in range(run.count):
        delete_some(run, run.boot(run.disks(2, 'raw' if run.version == '7.2' else 'qcow2')))


def delete_some(run, qemu):
    qemu.work_hard(fill_mib=32, dirty='20')
    capturer = Capturer(run, qemu)
    captured = [capturer.capture() for _ in range(4)]
    names = [os.path.basename(one.directory) for one in captured]

    clone = reverts.revert(qemu, captured[0])
    assert_refused([captured[0].directory, qemu.qmp_path], 'stands on', clone.folder)
    clone.kill()
    shutil.rmtree(clone.folder)

    for gone in (0, 2):
        delete(captured[gone].directory, qemu.qmp_path)
        assert not any(map(os.path.exists, captured[gone].overlays)), os.listdir(run.folder)
        qemu.assert_alive()
    assert [harness.depth_of(path) for path in qemu.disk_files()] == [3, 3]
    assert [one.get('parent', {}).get('name') for one in listed(run.folder)] == [None, names[1]], listed(run.folder)
    for kept in (1, 3):
        reverts.assert_whole(qemu, captured[kept].again())
    qemu.assert_consistent()
    qemu.kill()

    delete(captured[1].directory)
    assert [harness.depth_of(path) for path in capturer.disk_files] == [2, 2]
    reverts.assert_whole(qemu, captured[3].again())

    # The image that QEMU was started on goes away; its command line still names it.
    again = boot_again(qemu, capturer.disk_files)
    capturer = Capturer(run, again)
    later = capturer.capture()
    delete(captured[3].directory, again.qmp_path)
    assert not any(map(os.path.exists, later.sources)), os.listdir(run.folder)
    reverts.assert_whole(again, later.again())
    latest = capturer.capture()
    reverts.assert_whole(again, latest)
    again.assert_consistent()
    again.kill()
    delete(latest.directory)
    delete(later.directory)
    assert not overlays_in(run), os.listdir(run.folder)
    for disk in qemu.hardware.disks:
        os.unlink(disk.path)


class RunningDelete:
    """A deletion in a process of its own."""

    def __init__(self, *arguments):
        self.process = processes.start([qsnapcmd.command(), 'delete', *arguments, '--json'], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)

    def wait_job(self, qemu, *statuses):
        """Until QEMU's job has one of those; or the process has ended."""
        wait_until(lambda: any(job['status'] in statuses for job in qemu.qmp('query-jobs')) or
                   self.process.poll() is not None, 30, 'the merge', interval=0.002)

    def end(self, number):
        """It may have been faster."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        return self.process.communicate(timeout=60)


def assert_deleted(run, qemu, captured):
    assert qemu.disk_files() == captured.bases, qemu.disk_files()
    assert not os.path.exists(captured.directory) and not overlays_in(run) and not qemu.qmp('query-jobs')
    qemu.assert_alive()
    qemu.assert_consistent()


def listed(folder):
    return json.loads(qsnapcmd.run('list', folder, '--json'))


@test(small=1, full=10, timeout=60, small_version='10.0')
def delete_interrupted(run):
    """Ctrl-C, and SIGKILL at two moments; each time the guest goes on, and deleting again does the rest."""
    qemu = run.boot(run.disks(1, size='256M'))
    qemu.work_hard(fill_mib=32, dirty='20')
    cases = [(signal.SIGINT, ('running', 'ready')), (signal.SIGKILL, ('running', 'ready')),
             (signal.SIGKILL, ('pending', 'concluded'))]
    for number, statuses in cases * run.count:
        captured = Capturer(run, qemu).capture()
        time.sleep(1)
        running = RunningDelete(captured.directory, qemu.qmp_path)
        running.wait_job(qemu, *statuses)
        _, complaint = running.end(number)
        jobs = [job['status'] for job in qemu.qmp('query-jobs')]
        print(number, running.process.returncode, jobs, complaint)
        if number == signal.SIGINT:
            assert not jobs, jobs
        if jobs != ['pending']:
            qemu.assert_alive()
        if os.path.exists(captured.directory):
            assert number == signal.SIGKILL or qemu.disk_files() == captured.overlays, qemu.disk_files()
            whole = os.path.exists(os.path.join(captured.directory, 'snapshot.json'))
            assert len(listed(run.folder)) == whole, 'half a snapshot is listed'
            delete(captured.directory, qemu.qmp_path)
        assert_deleted(run, qemu, captured)
        qemu.hardware.disks[0].path = captured.bases[0]


# The guest does not run

def processes_on(paths):
    """Of qemu-img, which dies a moment after the one that started it."""
    done = subprocess.run(['pgrep', '-f', f'qemu-img.*({"|".join(map(re.escape, paths))})'], stdout=subprocess.PIPE,
                          check=False)
    return done.stdout


@test(timeout=60, small_version='10.0')
def delete_offline(run):
    """QEMU is killed in the middle of a deletion that is killed, too; then one after the other, the first killed once more.
    The first image has all."""
    qemu = run.boot(run.disks(2, 'qcow2', size='256M'))
    qemu.work_hard(fill_mib=32, dirty='20')
    capturer = Capturer(run, qemu)
    captured = [capturer.capture(), capturer.capture()]
    time.sleep(1)
    running = RunningDelete(captured[1].directory, qemu.qmp_path)
    running.wait_job(qemu, 'ready', 'pending', 'concluded')
    running.end(signal.SIGKILL)
    print([job['status'] for job in qemu.qmp('query-jobs')])
    qemu.kill()
    if os.path.exists(captured[1].directory):
        assert_refused([captured[0].directory], os.path.basename(captured[1].directory), 'stands on')
        running = RunningDelete(captured[1].directory)
        time.sleep(0.1)
        running.end(signal.SIGKILL)
        wait_until(lambda: not processes_on(captured[1].overlays), 10, 'qemu-img to be gone')
    for one in reversed(captured):
        if os.path.exists(one.directory):
            delete(one.directory)
        for path in one.bases:
            harness.qemu_img('check', '-q', path)
    assert not overlays_in(run), os.listdir(run.folder)
    again = boot_again(qemu, captured[0].bases)
    again.assert_consistent()
    again.assert_alive()


def is_saving(directory):
    try:
        with open(os.path.join(directory, 'journal.json'), encoding='utf-8') as file:
            return json.load(file)['step'] == 'saving'
    except FileNotFoundError:
        return False


@test(timeout=60, small_version='7.2')
def delete_is_refused(run):
    """Each reason by name, and nothing changed."""
    qemu = run.boot()
    qemu.work_hard(fill_mib=32, dirty='20', rate='100')
    captured = Capturer(run, qemu).capture()
    before, trace = qemu.fingerprint(), reverts.fingerprint(captured)

    clone = reverts.revert(qemu, captured)
    assert_refused([captured.directory, qemu.qmp_path], 'stands on', clone.folder)
    assert_refused([captured.directory, clone.address], 'this is not the guest')
    clone.kill()
    shutil.rmtree(clone.folder)

    with touched(captured.bases[0]):
        assert_refused([captured.directory, qemu.qmp_path], 'changed since the snapshot')

    overlay = harness.create_overlay(run.file('somebodys.qcow2'), captured.bases[0], 'raw')
    assert_refused([captured.directory, qemu.qmp_path], overlay, 'stands on')
    os.unlink(overlay)

    directory = run.file('under-way')
    saving = qsnapcmd.RunningSnapshot(qemu.qmp_path, directory)
    wait_until(lambda: is_saving(directory) or not saving.is_running(), 30, 'memory to be saved')
    assert_refused([captured.directory], 'a capture into', 'is open in a QEMU')
    assert_refused([directory], 'snapshot.json')
    saving.finish()
    delete(directory, qemu.qmp_path)

    assert_as_it_was(qemu, before)
    assert reverts.fingerprint(captured) == trace
    qemu.assert_alive()
    delete(captured.directory, qemu.qmp_path)
    qemu.assert_consistent()
