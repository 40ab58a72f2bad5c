# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots that share pages with the one before, on a file system that can do it."""

import os
import shutil

import processes
import qsnapcmd
from captures import Capturer, assert_reverts
from reverts import revert
from runner import test


def used_mib(folder):
    os.sync()
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize >> 20


def assert_comes_back(qemu, captured):
    guest = revert(qemu, captured)
    guest.assert_came_back()
    guest.assert_consistent()
    guest.kill()
    shutil.rmtree(guest.folder)  # what stands on a snapshot keeps it from being deleted


@test(small=1, full=5, timeout=180, small_version='7.2')
def pages_are_shared(run):
    """The second takes a fraction of the first, each comes back, and the second does without the first."""
    folder = run.file('xfs')
    problem = processes.mount_cloning(folder, 'xfs')
    if problem:
        run.skip(problem)
    qemu = run.boot(run.disks(2))
    qemu.work_hard(fill_mib=200, dirty='0')
    capturer = Capturer(run, qemu)
    before = capturer.capture('--share-pages', directory=os.path.join(folder, 'snapshot0'))
    for number in range(1, run.count + 1):
        used = used_mib(folder)
        captured = capturer.capture('--share-pages', directory=os.path.join(folder, f'snapshot{number}'))
        grown, data = used_mib(folder) - used, captured.summary['guest']['data-size'] >> 20
        print(f'{data} MiB of data took {grown} MiB')
        assert grown < data / 2, (grown, data)
        assert not [text for text in captured.summary['warnings'] if 'shared' in text], captured.summary['warnings']
        for one in (before, captured):
            qsnapcmd.verify(one.directory)
            assert_comes_back(qemu, one)
        qemu.assert_alive()

        qsnapcmd.run('delete', before.directory, qemu.qmp_path)
        before = captured.again()
        capturer.disk_files = before.overlays
        qsnapcmd.verify(before.directory)
        assert_comes_back(qemu, before)
    assert_reverts(qemu, before)
    qemu.assert_consistent()


@test(timeout=60, small_version='7.2')
def pages_that_cannot_be_shared(run):
    """It is taken all the same, and says why."""
    if not processes.mount_tmpfs(run.file('tmpfs'), '1G'):
        run.skip('a file system that surely cannot do it needs root')
    qemu = run.boot(run.disks(1))
    captured = Capturer(run, qemu).capture('--share-pages', directory=run.file('tmpfs/snapshot'))
    assert [text for text in captured.summary['warnings'] if 'XFS (with reflink) and btrfs can' in text], captured.summary
    qsnapcmd.verify(captured.directory)
    text = qsnapcmd.refusal('snapshot', qemu.qmp_path, run.file('refused'), '--share-pages', '--compression', 'zstd')
    assert 'share-pages and compression' in text, text
    qemu.assert_alive()
