# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots that were moved to another folder, as to another host: with their images, and without what their guest wrote
since."""

import dataclasses
import json
import os
import shutil
import subprocess

import harness
import qsnapcmd
import reverts
from captures import Capturer, source_of
from harness import Disk
from runner import test


def images(directory, *words):
    """What `qsnap import` says of each disk."""
    return json.loads(qsnapcmd.run('import', directory, *words, '--json'))['disks']


def copy(path, folder):
    """Another file of the same content, as on another host."""
    subprocess.run(['cp', '-a', '--sparse=always', path, folder], check=True)
    (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)
    there = os.path.join(folder, os.path.basename(path))
    # How many blocks a file has is known only when they are written.
    files = [os.path.join(parent, name) for parent, _, names in os.walk(there) for name in names] or [there]
    subprocess.run(['sync', *files], check=True)
    return there


def move(run, captured):
    """The snapshot and its images are elsewhere, and its overlays nowhere."""
    there = run.file('there')
    os.mkdir(there)
    for overlay in captured.overlays:
        os.unlink(overlay)
    return copy(captured.directory, there), [copy(path, there) for path in captured.bases]


def words_of(captured, bases):
    """DRIVE=FILE for each disk; the manifest has them in QEMU's order."""
    names = {source_of(disk): disk['device'] for disk in captured.summary['disks']}
    return [f'{names[source]}={base}' for source, base in zip(captured.sources, bases, strict=True)]


def imported(captured, directory, bases):
    """The snapshot as it is now."""
    return dataclasses.replace(captured, directory=directory, summary=qsnapcmd.show(directory), bases=bases, sources=bases)


def disks_on_a_template(run):
    """One whose image stands on another, and one that is raw; each in another form on the command line."""
    template = harness.create_disk(run.file('template.raw'), 'raw')
    image = harness.create_overlay(run.file('disk0.qcow2'), template, 'raw')
    other = harness.create_disk(run.file('disk1.raw'), 'raw')
    return template, [Disk(image, 'qcow2', 'virtio', 'blockdev'), Disk(other, 'raw', 'virtio', 'drive')]


def assert_refused(words, *arguments):
    said = qsnapcmd.refusal(*arguments)
    assert all(word in said for word in words), (words, said)


@test(timeout=150, small_version='10.0')
def revert_of_a_moved_snapshot(run):
    template, disks = disks_on_a_template(run)
    qemu = run.boot(disks)
    qemu.work_hard(fill_mib=64)
    captured = Capturer(run, qemu).capture()
    qemu.assert_alive()
    qemu.kill()
    directory, bases = move(run, captured)
    moved_template = copy(template, os.path.dirname(directory))
    words = words_of(captured, bases)

    # Nothing is where it was.
    assert_refused([os.path.dirname(captured.bases[0]), 'missing'], 'revert', directory)
    assert qsnapcmd.refusal('verify', directory)
    try:
        images(directory)
        raise AssertionError('nothing is missing')
    except qsnapcmd.QsnapError as error:
        assert error.status == 1, error

    # The header of the first still names the template where it was; the second is not written down without it.
    assert_refused([template, 'qemu-img rebase -u'], 'import', directory, *reversed(words))
    assert qsnapcmd.show(directory)['disks'] == captured.summary['disks']
    harness.qemu_img('rebase', '-q', '-u', '-f', 'qcow2', '-b', moved_template, '-F', 'raw', bases[0])

    said = images(directory, *words)
    assert sorted(disk['file'] for disk in said) == sorted(bases) and all(disk['good'] for disk in said), said
    assert images(directory) == said
    moved = imported(captured, directory, bases)
    assert not any('overlay' in disk for disk in moved.summary['disks']), moved.summary
    before = reverts.fingerprint(moved)
    for method in 'map', 'on-demand':
        reverts.assert_reverts_to(qemu, moved, method)
    reverts.assert_whole(qemu, moved)
    after = reverts.fingerprint(moved)
    assert after == before, {path: (before[path], after[path]) for path in before if after[path] != before[path]}

    for name in os.listdir(run.file('there')):
        if '.revert-' in name:
            shutil.rmtree(os.path.join(run.file('there'), name))
    qsnapcmd.run('delete', directory)
    assert sorted(os.listdir(run.file('there'))) == sorted(map(os.path.basename, [*bases, moved_template]))
    assert all(reverts.fingerprint_of(path) == before[path] for path in bases)


@test(timeout=90, small_version='7.2')
def a_guest_goes_on_from_a_moved_snapshot(run):
    """It is captured again, knows where it came from, and the moved one is deleted under it: nothing is merged."""
    qemu = run.boot(run.disks(1, 'qcow2'))
    qemu.work_hard(fill_mib=32)
    captured = Capturer(run, qemu).capture()
    qemu.kill()
    directory, bases = move(run, captured)
    images(directory, *words_of(captured, bases))

    again = reverts.revert(qemu, imported(captured, directory, bases), method='load')
    again.assert_came_back()
    later = qsnapcmd.snapshot(again.qmp_path, os.path.join(run.file('there'), 'later'))
    assert later['parent']['id'] == captured.summary['id'], later['parent']
    qsnapcmd.run('delete', directory)
    again.assert_alive()
    again.assert_consistent()
    assert os.path.exists(bases[0]) and not os.path.exists(directory)
    qsnapcmd.verify(os.path.join(run.file('there'), 'later'))
