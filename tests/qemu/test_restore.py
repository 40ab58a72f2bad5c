# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every kind of guest, back through `qsnap revert`, judged by the guest itself."""

import os
import random
import time

import harness
from captures import Capturer
from harness import Disk
from reverts import assert_reverts_to, other_version, revert
from runner import test

METHODS = ('map', 'load', 'on-demand')
OLDEST_COMMON_MACHINE = 'pc-q35-7.2'   # of the QEMUs that are tested with


# Torture

def torture_guest(run, qemu, version=None):
    """Flat out, again and again, all ways."""
    qemu.work_hard()
    capturer = Capturer(run, qemu)
    for _ in range(run.count):
        time.sleep(random.random() / 3)
        captured = capturer.capture()
        for method in METHODS:
            assert_reverts_to(qemu, captured, method, version=version)
        qemu.assert_alive()
    qemu.assert_consistent()


@test(small=1, full=25, timeout=120)
def torture_of_reverts(run):
    torture_guest(run, run.boot(run.disks(2)))


@test(small=1, full=25, timeout=120)
def torture_of_reverts_on_the_other_qemu(run):
    """Captured on this version, reverted on the other one."""
    harness.qemu_binary(other_version(run.version))
    torture_guest(run, run.boot(run.disks(2), machine=OLDEST_COMMON_MACHINE), other_version(run.version))


# Every kind of guest

def capture_and_revert(run, disks=None, **hardware):
    """Its memory can be mapped, so "auto" does."""
    qemu = run.boot(disks, **hardware)
    qemu.work_hard(fill_mib=64)
    captured = Capturer(run, qemu).capture()
    assert_reverts_to(qemu, captured, 'auto', 'map')
    assert_reverts_to(qemu, captured, 'load')
    assert_reverts_to(qemu, captured, 'on-demand')
    qemu.assert_alive()
    qemu.assert_consistent()


def disks_of(run, *kinds):
    """A disk for each (format, frontend, style)."""
    return [Disk(harness.create_disk(run.file(f'disk{index}.{disk_format}'), disk_format), disk_format, frontend, style)
            for index, (disk_format, frontend, style) in enumerate(kinds)]


@test(timeout=90)
def revert_of_every_kind_of_drive(run):
    capture_and_revert(run, disks_of(run, ('raw', 'virtio', 'drive-if'), ('qcow2', 'virtio', 'drive-if'),
                                     ('qcow2', 'virtio', 'drive'), ('raw', 'scsi', 'drive')))


@test(timeout=90, small_version='10.0')
def revert_of_every_kind_of_blockdev(run):
    capture_and_revert(run, disks_of(run, ('raw', 'virtio', 'blockdev'), ('qcow2', 'virtio', 'blockdev-json'),
                                     ('qcow2', 'virtio', 'blockdev-nested'), ('raw', 'scsi', 'blockdev')))


@test(timeout=90, small_version='10.0')
def revert_of_disks_on_ide(run):
    """On "pc", because Debian's cloud kernel has no AHCI."""
    capture_and_revert(run, disks_of(run, ('qcow2', 'hda', ''), ('raw', 'ide', 'drive')), machine='pc')


@test(timeout=150, small_version='10.0')
def revert_of_pflash(run):
    """A UEFI guest: its variables are of the same instant, and stay its own."""
    if not os.path.exists(harness.OVMF_CODE):
        run.skip('no OVMF')
    variables = run.file('variables.fd')
    with open(harness.OVMF_VARIABLES, 'rb') as source, open(variables, 'wb') as target:
        target.write(source.read())
    qemu = run.boot(efi_variables=variables)
    qemu.work_hard(fill_mib=64)
    qemu.guest('efivar-set Instant before')
    capturer = Capturer(run, qemu)
    captured = capturer.capture()
    qemu.guest('efivar-set Instant after')
    reverted = revert(qemu, captured)
    assert reverted.method == 'map', reverted.answer
    assert reverted.guest('efivar-get Instant')['value'] == 'before'
    reverted.guest('efivar-set Instant elsewhere')
    reverted.assert_came_back()
    again = revert(qemu, captured, method='load')
    assert again.guest('efivar-get Instant')['value'] == 'before'
    again.assert_came_back()
    assert qemu.guest('efivar-get Instant')['value'] == 'after'
    # The block that mirrors the variables is replaced at the seal, and never compressed.
    packed = revert(qemu, capturer.capture('--compression', 'zstd'), method='load')
    assert packed.guest('efivar-get Instant')['value'] == 'after'
    packed.assert_came_back()
    qemu.assert_alive()


@test(timeout=90, small_version='7.2')
def revert_of_numa_backends(run):
    capture_and_revert(run, memory='numa')


@test(timeout=90, small_version='10.0')
def revert_of_a_pc_dimm(run):
    capture_and_revert(run, memory='pc-dimm')


@test(timeout=90, small_version='10.0')
def revert_of_a_shared_memfd(run):
    """The reverted guest must not share it."""
    capture_and_revert(run, memory='memfd-shared')


@test(timeout=90, small_version='7.2')
def revert_of_microvm(run):
    """Without a PCI bus, and with ACPI: Debian's kernel does not look for virtio-mmio on its command line."""
    capture_and_revert(run, run.disks(1, frontend='virtio-mmio', style='drive'), machine='microvm,acpi=on')


@test(timeout=90, small_version='10.0')
def revert_of_a_guest_without_disks(run):
    capture_and_revert(run, disks=[])
