# SPDX-License-Identifier: LGPL-2.1-or-later
"""The negative control: a capture that is torn must be seen as torn, each time; and the positive one beside it."""

import harness
import reference_capture
from runner import test


def revert_torn_capture(run, qemu, steps, disks_first):
    torn = reference_capture.capture_torn(qemu, run.folder, steps, disks_first)
    reverted = harness.load_stream(qemu.hardware, torn.stream, torn.bases)
    check = reverted.full_check()
    reverted.kill()
    return check


def assert_every_tear_is_seen(run, disks_first):
    """Tears of two steps and more, starting at ever other slots."""
    qemu = run.boot(run.disks(2))
    qemu.guest('stop-disk')
    qemu.guest('fill 64')
    qemu.guest('dirty 20')
    qemu.guest('step 20')
    for number in range(run.count):
        steps = 2 + number % 5
        check = revert_torn_capture(run, qemu, steps, disks_first)
        assert check['torn'] >= 2 * (steps - 1), (number, steps, check)
        assert check['badpages'] == 0, (number, check)
    qemu.assert_consistent()


@test(small=2, full=25, timeout=60, needs_qsnap=False, small_version='10.0')
def torn_control_disks_first(run):
    assert_every_tear_is_seen(run, disks_first=True)


@test(small=1, full=10, timeout=60, needs_qsnap=False, small_version='7.2')
def torn_control_memory_first(run):
    assert_every_tear_is_seen(run, disks_first=False)


@test(small=1, full=5, timeout=60, needs_qsnap=False, small_version='10.0')
def torn_control_flat_out(run):
    """Torn while the worker writes flat out, as a library with a wrong order would do it."""
    qemu = run.boot(run.disks(2))
    qemu.work_hard(fill_mib=64)
    for number in range(run.count):
        check = revert_torn_capture(run, qemu, steps=3, disks_first=True)
        assert check['torn'] > 0, (number, check)
    qemu.assert_alive()


@test(small=1, full=5, timeout=90, needs_qsnap=False, small_version='7.2')
def reference_capture_is_sound(run):
    """Else the negative control would prove nothing."""
    qemu = run.boot(run.disks(2))
    qemu.work_hard()
    for _ in range(run.count):
        sound = reference_capture.capture(qemu, run.folder)
        qemu.assert_alive()
        reverted = harness.load_stream(qemu.hardware, sound.stream, sound.bases)
        reverted.assert_consistent()
        reverted.assert_alive()
        reverted.kill()
