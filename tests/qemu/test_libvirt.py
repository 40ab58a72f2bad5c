# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that libvirt owns: what a capture leaves alone, and that libvirt goes on with it."""

import os

import harness
import processes
import qsnapcmd
from captures import Capturer, assert_as_it_was, assert_is_sealed, assert_no_snapshot
from harness import Disk
from libvirtd import Domain, Libvirtd
from reverts import revert
from runner import test


def boot(run, folder):
    """A guest of a new libvirtd, with its images in that folder."""
    disks = [Disk(harness.create_disk(os.path.join(folder, f'disk{index}.{disk_format}'), disk_format), disk_format)
             for index, disk_format in enumerate(('raw', 'qcow2'))]
    domain = Domain(Libvirtd(run.version), disks)
    return domain, domain.boot()


def assert_libvirt_goes_on(domain, qemu):
    """With snapshots of its own, a pause, and the guest's next boot, which has the disks of before. The QEMU of that."""
    domain.virsh('snapshot-create-as', '--disk-only', '--atomic', 'own')
    on_disks = [os.path.splitext(disk.path)[0] + '.own' for disk in domain.hardware.disks]
    assert qemu.disk_files() == on_disks, (qemu.disk_files(), on_disks)
    assert all(path in domain.virsh('domblklist') for path in on_disks), domain.virsh('domblklist')
    qemu.assert_alive()

    domain.virsh('suspend')
    assert qemu.status() == 'paused' and 'paused' in domain.virsh('domstate'), qemu.status()
    qemu.assert_stopped()
    domain.virsh('resume')
    qemu.assert_alive()
    qemu.assert_consistent()

    domain.virsh('destroy')
    qemu.wait_exit(10)
    again = domain.boot()
    assert again.boot_id != qemu.boot_id and again.disk_files() == on_disks, (again.boot_id, again.disk_files())
    again.assert_alive()
    again.assert_consistent()
    return again


def assert_comes_back(qemu, captured):
    revert(qemu, captured).assert_came_back().kill()


def capture(domain, qemu, capturer, directory, disk_mode):
    """By a disk mode that leaves the block graph alone."""
    qemu.work_hard(fill_mib=64)
    before, description = qemu.fingerprint(), domain.description()
    captured = capturer.capture('--disk-mode', disk_mode, directory=directory)
    assert_as_it_was(qemu, before)
    assert domain.description() == description, (domain.description(), description)
    assert_is_sealed(directory)
    qemu.assert_alive()
    return captured


def capture_and_go_on(run, folder, disk_mode):
    domain, qemu = boot(run, folder)
    captured = capture(domain, qemu, Capturer(run, qemu), os.path.join(folder, 'before'), disk_mode)
    assert_comes_back(qemu, captured)
    qemu = assert_libvirt_goes_on(domain, qemu)
    qsnapcmd.verify(captured.directory)
    return domain, qemu


@test(timeout=90, small_version='7.2')
def libvirt_guest_is_captured_by_copying(run):
    """And again on what libvirt has made of its disks meanwhile."""
    domain, qemu = capture_and_go_on(run, run.folder, 'copy')
    capturer = Capturer(run, qemu)
    capturer.disk_files = qemu.disk_files()
    assert_comes_back(qemu, capture(domain, qemu, capturer, run.file('after'), 'copy'))


@test(timeout=90, small_version='10.0')
def libvirt_guest_is_captured_by_cloning(run):
    folder = run.file('btrfs')
    problem = processes.mount_cloning(folder)
    if problem:
        run.skip(problem)
    capture_and_go_on(run, folder, 'clone')


@test(timeout=60, small_version='7.2')
def libvirt_guest_is_refused_overlays(run):
    """libvirt would not know of them. Who takes that on himself gets them."""
    domain, qemu = boot(run, run.folder)
    qemu.work_hard(fill_mib=64)
    before, description = qemu.fingerprint(), domain.description()
    for arguments in (['check', qemu.qmp_path], ['snapshot', qemu.qmp_path, run.file('refused')]):
        try:
            qsnapcmd.run(*arguments)
            raise AssertionError('not refused')
        except qsnapcmd.QsnapError as error:
            assert error.status == 1 and 'libvirt owns this guest' in error.text, error
    assert_no_snapshot(run.file('refused'))
    assert_as_it_was(qemu, before)

    captured = Capturer(run, qemu).capture('--allow-managed')
    assert qemu.disk_files() == captured.overlays, (qemu.disk_files(), captured.overlays)
    assert domain.description() == description, (domain.description(), description)
    assert_comes_back(qemu, captured)
    qemu.assert_alive()
    qemu.assert_consistent()
