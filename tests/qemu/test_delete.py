# SPDX-License-Identifier: LGPL-2.1-or-later
"""Deleting snapshots: what the guest wrote since is in its first image again, and nothing that is needed goes."""

import copy
import os
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
    return qsnapcmd.json.loads(qsnapcmd.run('delete', *arguments, '--json'))


def assert_refused(arguments, *words):
    try:
        delete(*arguments)
    except qsnapcmd.QsnapError as error:
        assert error.status == 1 and all(word in error.text for word in words), (words, error)
        return
    raise AssertionError('deleted')


def overlays_in(run):
    return [name for name in os.listdir(run.folder) if '.qsnap-' in name]


def assert_checks_clean(path):
    harness.qemu_img('check', '-q', path)


def boot_again(qemu, paths):
    """The guest's disks as they are now, in a machine that starts anew."""
    hardware = copy.deepcopy(qemu.hardware)
    for disk, path in zip(hardware.disks, paths, strict=True):
        disk.path, disk.format = path, harness.disk_format(path)
    return harness.Qemu(hardware).wait_ready()


# The guest runs

@test(small=3, full=12, timeout=90)
def delete_newest_first(run):
    """Flat out, until the chain is what it was in the beginning."""
    qemu = run.boot(run.disks(2))
    before = qemu.fingerprint()
    qemu.work_hard(fill_mib=64, dirty='20')
    capturer = Capturer(run, qemu)
    captured = [capturer.capture() for _ in range(run.count)]
    assert_refused([captured[0].directory, qemu.qmp_path], os.path.basename(captured[1].directory), 'stands on')
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
    delete(again.directory, qemu.qmp_path)
    qemu.assert_alive()


@test(timeout=60)
def delete_of_a_paused_guest(run):
    qemu = run.boot()
    qemu.work_hard(fill_mib=64, dirty='20')
    captured = Capturer(run, qemu).capture()
    time.sleep(1)
    qemu.qmp('stop')
    delete(captured.directory, qemu.qmp_path)
    assert qemu.status() == 'paused' and not overlays_in(run), qemu.status()
    qemu.qmp('cont')
    qemu.assert_alive()
    qemu.assert_consistent()


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
        os.kill(self.process.pid, number)
        return self.process.communicate(timeout=60)


def with_much_to_merge(run):
    """A guest with a snapshot whose overlay takes a while."""
    qemu = run.boot(run.disks(1, size='256M'))
    qemu.work_hard(fill_mib=64, dirty='20')
    captured = Capturer(run, qemu).capture()
    time.sleep(4)
    return qemu, captured


@test(timeout=60)
def cancel_of_a_delete(run):
    """Ctrl-C while it merges: the guest goes on where it was, or it was too late; then all of it."""
    qemu, captured = with_much_to_merge(run)
    running = RunningDelete(captured.directory, qemu.qmp_path)
    running.wait_job(qemu, 'running', 'ready')
    _, complaint = running.end(signal.SIGINT)
    qemu.assert_alive()
    assert not qemu.qmp('query-jobs'), qemu.qmp('query-jobs')
    print(running.process.returncode, complaint)
    if running.process.returncode != 0:
        assert qemu.disk_files() == captured.overlays, qemu.disk_files()
        delete(captured.directory, qemu.qmp_path)
    assert qemu.disk_files() == captured.bases
    assert not os.path.exists(captured.directory) and not overlays_in(run)
    qemu.assert_alive()
    qemu.assert_consistent()


@test(small=2, full=20, timeout=60)
def crash_of_a_delete(run):
    """SIGKILL at some moment; delete again."""
    qemu = run.boot()
    qemu.work_hard(fill_mib=64, dirty='20')
    capturer = Capturer(run, qemu)
    for number in range(run.count):
        captured = capturer.capture()
        time.sleep(1)
        running = RunningDelete(captured.directory, qemu.qmp_path)
        running.wait_job(qemu, *[('running', 'ready'), ('pending', 'concluded')][number % 2])
        running.end(signal.SIGKILL)
        print([job['status'] for job in qemu.qmp('query-jobs')])
        if os.path.exists(captured.directory):
            assert not qsnapcmd.json.loads(qsnapcmd.run('list', run.folder, '--json')), 'half a snapshot is listed'
            delete(captured.directory, qemu.qmp_path)
        assert qemu.disk_files() == captured.bases, qemu.disk_files()
        assert not os.path.exists(captured.directory) and not overlays_in(run) and not qemu.qmp('query-jobs')
        qemu.assert_alive()
        qemu.assert_consistent()
        capturer = Capturer(run, qemu)


@test(timeout=60)
def crash_of_a_delete_and_of_qemu(run):
    """Whatever was merged by then, no image is older than the guest's disk."""
    qemu, captured = with_much_to_merge(run)
    running = RunningDelete(captured.directory, qemu.qmp_path)
    running.wait_job(qemu, 'ready', 'pending', 'concluded')
    running.end(signal.SIGKILL)
    qemu.kill()
    if os.path.exists(captured.directory):
        delete(captured.directory)
    assert not os.path.exists(captured.directory) and not overlays_in(run)
    again = boot_again(qemu, captured.bases)
    again.assert_consistent()
    again.assert_alive()


# The guest does not run

@test(timeout=90)
def delete_offline(run):
    """One after the other, killed once in between; the first image has all."""
    qemu = run.boot(run.disks(2, 'qcow2', size='256M'))
    qemu.work_hard(fill_mib=64, dirty='20')
    capturer = Capturer(run, qemu)
    captured = [capturer.capture(), capturer.capture()]
    time.sleep(2)
    qemu.qmp('stop')
    qemu.kill()
    assert_refused([captured[0].directory], os.path.basename(captured[1].directory), 'stands on')
    running = RunningDelete(captured[1].directory)
    time.sleep(0.1)
    running.end(signal.SIGKILL)
    for one in reversed(captured):
        if os.path.exists(one.directory):
            delete(one.directory)
        for path in one.bases:
            assert_checks_clean(path)
    assert not overlays_in(run), os.listdir(run.folder)
    again = boot_again(qemu, captured[0].bases)
    again.assert_consistent()
    again.assert_alive()


@test(timeout=90)
def delete_is_refused(run):
    """Each reason by name, and nothing changed."""
    qemu = run.boot()
    qemu.work_hard(fill_mib=64, dirty='20', rate='100')
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
    qemu.wait_memory_is_being_saved()
    assert_refused([captured.directory], 'a capture into', 'is open in a QEMU')
    assert_refused([directory], 'snapshot.json')
    saving.interrupt()
    try:
        saving.finish()
        delete(directory, qemu.qmp_path)
    except qsnapcmd.QsnapError:
        pass

    assert_as_it_was(qemu, before)
    assert reverts.fingerprint(captured) == trace
    qemu.assert_alive()
    delete(captured.directory, qemu.qmp_path)
    qemu.assert_consistent()
