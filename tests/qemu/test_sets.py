# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many snapshots of one guest: the chain and the disk stay small, and every one that is kept is whole."""

import json
import os
import time

import harness
import qsnapcmd
import reverts
from captures import Capturer
from runner import test

KEEP = 3


def used_kib(folder):
    return sum(os.stat(os.path.join(parent, name)).st_blocks // 2
               for parent, _, names in os.walk(folder) for name in names)


def prune(run, qemu, *options):
    return json.loads(qsnapcmd.run('prune', run.folder, qemu.qmp_path, '--json', f'--keep-last={KEEP}', *options))


@test(small=4, full=50, timeout=150, small_version='7.2')
def prune_by_a_timer(run):
    """A snapshot now and then of a guest that writes, and after each the oldest goes."""
    qemu = run.boot(run.disks(1))
    qemu.work_hard(fill_mib=32, dirty='5')
    capturer = Capturer(run, qemu)
    kept, used = [], []
    for number in range(run.count):
        time.sleep(0.2)
        kept.append(capturer.capture('--description', f'number {number}'))
        said = prune(run, qemu, '--dry-run')
        names = [os.path.basename(one.directory) for one in kept]
        assert [one['name'] for one in said['kept']] == names[-KEEP:], said
        done = prune(run, qemu)
        assert not done['failed'] and [one['name'] for one in done['deleted']] == names[:-KEEP], done
        kept = kept[-KEEP:]
        assert harness.depth_of(capturer.disk_files[0]) == len(kept) + 1
        used.append(used_kib(run.folder))
        # The first ones, the last ones, and some in between.
        if number + 1 in (KEEP + 1, run.count) or number % 10 == 9:
            for one in kept:
                reverts.assert_whole(qemu, one.again())
        qemu.assert_alive()
    print(f'KiB after each: {used}')
    assert max(used[KEEP:]) < 2 * max(used[:KEEP]), used
    tree = qsnapcmd.run('list', run.folder)
    assert len(tree.splitlines()) == KEEP and f'number {run.count - 1}' in tree.splitlines()[-1], tree
    assert 'a guest goes on from here' in tree.splitlines()[-1] and tree.count('a guest') == 1, tree
    assert json.loads(qsnapcmd.run('list', run.folder, '--orphans', '--json')) == []
    qemu.assert_consistent()


@test(small=5, full=20, timeout=150, small_version='10.0')
def chain_length_is_limited(run):
    """Each capture deletes what is too old by itself, under a guest that writes; with 1 even its own base is merged."""
    qemu = run.boot(run.disks(1))
    qemu.work_hard(fill_mib=16, dirty='5')
    capturer = Capturer(run, qemu)
    kept = []
    for _ in range(run.count):
        kept = (kept + [capturer.capture(f'--max-chain-length={KEEP}')])[-KEEP:]
        assert not kept[-1].summary['warnings'], kept[-1].summary
        assert harness.depth_of(capturer.disk_files[0]) == len(kept) + 1
        qemu.assert_alive()
    assert len(qsnapcmd.run('list', run.folder).splitlines()) == KEEP
    for one in kept:
        reverts.assert_whole(qemu, one.again())
    directory = capturer.next_directory()
    summary = qsnapcmd.snapshot(qemu.qmp_path, directory, '--max-chain-length=1')
    assert not summary['warnings'], summary
    assert harness.depth_of(summary['disks'][0]['overlay']['file']) == 2
    assert len(qsnapcmd.run('list', run.folder).splitlines()) == 1
    last = kept[-1]
    last.directory = directory
    reverts.assert_whole(qemu, last.again())
    qemu.assert_alive()
    qemu.assert_consistent()
