# SPDX-License-Identifier: LGPL-2.1-or-later
"""Captures of real guests, judged by the guest itself after its way back through a stock QEMU."""

import os
import random
import signal
import statistics
import time

import harness
import qsnapcmd
from captures import Capturer, assert_as_it_was, assert_is_sealed, assert_no_snapshot, assert_reverts, load, longest_standstill
from harness import Disk
from qmp import QmpClosed, QmpError
from runner import test

LONGEST_STANDSTILL = 5  # seconds; what a guest that writes flat out under TCG feels, with a lot to spare
SLOW_SAVE_MIB = 600    # of noise: seconds to save, and time to do something meanwhile


def capture_and_revert(run, **hardware):
    """What each kind of hardware has to stand."""
    qemu = run.boot(**hardware)
    qemu.work_hard(fill_mib=64)
    captured = Capturer(run, qemu).capture()
    qemu.assert_alive()
    assert_reverts(qemu, captured)
    qemu.assert_consistent()


def boot_with_slow_save(run, **hardware):
    qemu = run.boot(run.disks(2), memory='large', **hardware)
    qemu.work_hard(fill_mib=SLOW_SAVE_MIB)
    return qemu


# Torture

@test(small=3, full=25, timeout=90)
def torture(run):
    qemu = run.boot(run.disks(2))
    qemu.work_hard()
    capturer = Capturer(run, qemu)
    for _ in range(run.count):
        time.sleep(random.random() / 3)
        started = capturer.start()
        standstill = longest_standstill(qemu, started[1])
        captured = capturer.finish(started)
        print(f'pause {captured.summary["pause-us"]} us, longest standstill of a counter {standstill * 1000:.0f} ms')
        assert standstill < LONGEST_STANDSTILL
        qemu.assert_alive()
        assert_reverts(qemu, captured)
    qemu.assert_consistent()


@test(small=1, full=5, timeout=60, small_version='10.0')
def torture_with_heavy_writes(run):
    """Many requests in flight, not only the worker's own."""
    qemu = run.boot(run.disks(2, size='256M'))
    qemu.work_hard()
    capturer = Capturer(run, qemu)
    for _ in range(run.count):
        qemu.guest('write-random 100')
        captured = capturer.capture()
        qemu.guest('write-random 0')
        qemu.assert_alive()
        assert_reverts(qemu, captured)


# One guest, many captures

@test(timeout=90, small_version='7.2')
def chain_of_captures(run):
    """Each by a new process, that has to find out what the disks stand on."""
    qemu = run.boot(run.disks(2))
    qemu.work_hard(fill_mib=64)
    capturer = Capturer(run, qemu)
    expected = [[path] for path in capturer.disk_files]
    snapshots = []
    for _ in range(3):
        snapshots.append(capturer.capture())
        expected = [[overlay] + chain for overlay, chain in zip(capturer.disk_files, expected)]
        assert sorted(qemu.disk_files()) == sorted(capturer.disk_files)
        assert [harness.backing_chain(path) for path in capturer.disk_files] == expected
    qemu.assert_alive()
    for captured in snapshots:
        assert_reverts(qemu, captured)


def descriptors_that_are_no_files(qemu):
    return [name for name in qemu.open_files() if not name.startswith('/') or name.startswith('/dev/')]


def most_descriptors_of_one_file(qemu):
    names = [name for name in qemu.open_files() if name.endswith(('.qcow2', '.raw'))]
    return max(names.count(name) for name in names)


@test(small=4, full=25, timeout=60, small_version='7.2')
def captures_leave_no_descriptors(run):
    """Pipes, sockets, userfaultfds: none left. Images: as many for each file of the chain as after the first capture."""
    qemu = run.boot()
    capturer = Capturer(run, qemu)
    before = descriptors_that_are_no_files(qemu)
    capturer.capture()
    of_one_file = most_descriptors_of_one_file(qemu)
    for _ in range(run.count - 1):
        capturer.capture()
    time.sleep(1)  # QEMU closes a client's descriptors in its own time
    after = descriptors_that_are_no_files(qemu)
    assert after == before, f'{len(before)} before {before}, {len(after)} after {after}'
    assert most_descriptors_of_one_file(qemu) <= of_one_file, qemu.open_files()
    qemu.assert_alive()


@test(small_version='10.0')
def capabilities_and_parameters_are_put_back(run):
    qemu = run.boot()
    qemu.qmp('migrate-set-capabilities', capabilities=[{'capability': 'events', 'state': True}])
    qemu.qmp('migrate-set-parameters', max_bandwidth=12345678)
    capabilities, parameters = qemu.capabilities(), qemu.migration_parameters()
    Capturer(run, qemu).capture()
    assert qemu.capabilities() == capabilities, [name for name, state in qemu.capabilities().items() if state]
    assert qemu.migration_parameters() == parameters, qemu.migration_parameters()


# What the guest does meanwhile

@test(timeout=90, small_version='10.0')
def guest_powers_off_while_memory_is_saved(run):
    qemu = boot_with_slow_save(run)
    capturer = Capturer(run, qemu)
    started = capturer.start()
    qemu.wait_memory_is_being_saved()
    qemu.channel.send('poweroff')
    captured = capturer.finish(started)
    assert qemu.wait_exit(30) == 0
    assert_is_sealed(captured.directory)
    assert_reverts(qemu, captured)


@test(timeout=90, small_version='7.2')
def guest_reboots_while_memory_is_saved(run):
    qemu = boot_with_slow_save(run)
    capturer = Capturer(run, qemu)
    started = capturer.start()
    qemu.wait_memory_is_being_saved()
    qemu.channel.send('reboot')
    captured = capturer.finish(started)
    qemu.wait_ready(boots=2)
    qemu.assert_alive()
    assert_is_sealed(captured.directory)
    assert_reverts(qemu, captured)


@test(timeout=90, small_version='7.2')
def guest_reboots_under_no_reboot_while_memory_is_saved(run):
    qemu = boot_with_slow_save(run, no_reboot=True)
    capturer = Capturer(run, qemu)
    started = capturer.start()
    qemu.wait_memory_is_being_saved()
    qemu.channel.send('reboot')
    captured = capturer.finish(started)
    assert qemu.wait_exit(30) == 0
    assert_is_sealed(captured.directory)
    assert_reverts(qemu, captured)


@test(small_version='10.0')
def guest_powers_off_after_a_capture(run):
    """What a shutdown does is as it was before."""
    qemu = run.boot()
    Capturer(run, qemu).capture()
    qemu.channel.send('poweroff')
    assert qemu.wait_exit(30) == 0


@test(small_version='10.0')
def paused_guest_stays_paused(run):
    qemu = run.boot(run.disks(2))
    qemu.work_hard(fill_mib=64)
    qemu.qmp('stop')
    captured = Capturer(run, qemu).capture()
    assert qemu.status() == 'paused'
    qemu.assert_stopped()
    qemu.qmp('cont')
    qemu.assert_alive()
    assert_reverts(qemu, captured)


# Others who act on the guest meanwhile

def stop_and_cont_at_random(qemu, running):
    """QEMU refuses a cont while it takes the snapshot itself ("Migration is not finalized yet")."""
    while running.is_running():
        try:
            qemu.qmp(random.choice(('stop', 'cont')))
        except QmpError:
            pass
        time.sleep(random.random() / 50)
    qemu.qmp('cont')


def capture_while_another_client_acts(qemu, capturer):
    disks_before = sorted(qemu.disk_files())
    directory, running = started = capturer.start()
    stop_and_cont_at_random(qemu, running)
    try:
        captured = capturer.finish(started)
    except qsnapcmd.QsnapError as error:
        assert error.status == 1 and error.text, error
        assert sorted(qemu.disk_files()) == disks_before
        assert_no_snapshot(directory)
    else:
        assert_reverts(qemu, captured)
    qemu.assert_alive()


@test(small=3, full=25, timeout=120)
def another_client_stops_and_continues(run):
    """Sealed and sound, or refused and without a trace; never sealed and torn. A QEMU that itself crashes under such clients
    (7.2 was seen to end once) is told of, with its own words."""
    qemu = run.boot(run.disks(2))
    qemu.work_hard(fill_mib=64)
    capturer = Capturer(run, qemu)
    try:
        for _ in range(run.count):
            capture_while_another_client_acts(qemu, capturer)
    except QmpClosed:
        status = qemu.wait_exit(10)
        if status not in (-signal.SIGABRT, -signal.SIGSEGV):
            raise
        run.skip(f'QEMU {run.version} crashed (signal {-status}): {qemu.stderr().strip()[-300:]}')


@test(timeout=90, small_version='7.2')
def second_capture_while_one_runs(run):
    """The first one has the monitor that libqsnap was told of; the other comes through the second."""
    qemu = boot_with_slow_save(run)
    capturer = Capturer(run, qemu)
    started = capturer.start()
    qemu.wait_memory_is_being_saved()
    qemu.monitor.close()
    refused = run.file('refused')
    try:
        qsnapcmd.snapshot(qemu.monitor_path, refused)
        raise AssertionError('two captures at the same time')
    except qsnapcmd.QsnapError as error:
        assert error.status == 1 and error.text, error
    assert_no_snapshot(refused)
    captured = capturer.finish(started)
    qemu.assert_alive()
    assert_reverts(qemu, captured)


@test(timeout=90, small_version='7.2')
def interrupt_while_memory_is_saved(run):
    """Ctrl-C: the guest is what it was before."""
    qemu = boot_with_slow_save(run)
    before = qemu.fingerprint()
    directory, running = Capturer(run, qemu).start()
    qemu.wait_memory_is_being_saved()
    running.interrupt()
    try:
        running.finish()
        raise AssertionError('sealed in spite of Ctrl-C')
    except qsnapcmd.QsnapError as error:
        assert error.status == 1, error
    assert_no_snapshot(directory)
    assert_as_it_was(qemu, before)
    qemu.assert_alive()
    qemu.assert_consistent()


# Every kind of guest

@test(timeout=90, alone=True, small_version='7.2')
def same_pause_without_debug_threads(run):
    def median_pause(debug_threads):
        qemu = run.boot([Disk(harness.create_disk(run.file(f'threads-{debug_threads}.raw')))], debug_threads=debug_threads)
        qemu.guest('fill 200')
        capturer = Capturer(run, qemu)
        pauses = [capturer.capture().summary['pause-us'] for _ in range(5)]
        qemu.assert_alive()
        qemu.kill()
        return statistics.median(pauses)
    with_names, without = median_pause(True), median_pause(False)
    print(f'pause: {with_names} us with thread names, {without} us without')
    assert without < 2 * with_names + 20000, (with_names, without)


@test(small_version='7.2')
def frontend_drive_virtio(run):
    capture_and_revert(run, disks=run.disks(2))


@test(small_version='10.0')
def frontend_drive_virtio_qcow2(run):
    capture_and_revert(run, disks=run.disks(2, 'qcow2'))


@test(small_version='7.2')
def frontend_hda(run):
    """IDE; on "pc", because Debian's cloud kernel has no AHCI."""
    capture_and_revert(run, disks=run.disks(1, 'qcow2', frontend='hda'), machine='pc')


@test(small_version='10.0')
def frontend_ide(run):
    capture_and_revert(run, disks=run.disks(2, frontend='ide', style='drive'), machine='pc')


@test(small_version='10.0')
def frontend_blockdev_virtio(run):
    capture_and_revert(run, disks=run.disks(2, style='blockdev'))


@test(small_version='7.2')
def frontend_blockdev_virtio_qcow2(run):
    capture_and_revert(run, disks=run.disks(2, 'qcow2', style='blockdev'))


@test(small_version='7.2')
def frontend_scsi(run):
    capture_and_revert(run, disks=run.disks(2, 'qcow2', frontend='scsi', style='blockdev'))


@test(small_version='10.0')
def frontend_scsi_drive(run):
    capture_and_revert(run, disks=run.disks(1, frontend='scsi', style='drive'))


@test(small_version='7.2')
def frontend_nvme_is_refused(run):
    """QEMU cannot migrate its NVMe device; said before anything is touched."""
    qemu = run.boot(run.disks(1, frontend='nvme', style='blockdev'))
    assert_refused(run, qemu, 'nvme')


@test(timeout=120, small_version='10.0')
def frontend_pflash(run):
    """A UEFI guest: its variables are of the same instant."""
    if not os.path.exists(harness.OVMF_CODE):
        run.skip('no OVMF')
    variables = run.file('variables.fd')
    with open(harness.OVMF_VARIABLES, 'rb') as source, open(variables, 'wb') as target:
        target.write(source.read())
    qemu = run.boot(efi_variables=variables)
    qemu.work_hard(fill_mib=64)
    qemu.guest('efivar-set Instant before')
    captured = Capturer(run, qemu).capture()
    qemu.guest('efivar-set Instant after')
    reverted = load(qemu, captured)
    assert reverted.guest('efivar-get Instant')['value'] == 'before'
    reverted.assert_consistent()
    assert qemu.guest('efivar-get Instant')['value'] == 'after'
    qemu.assert_alive()


def assert_refused(run, qemu, *words):
    before = qemu.fingerprint()
    directory = run.file('refused')
    for attempt in (lambda: qsnapcmd.check(qemu.qmp_path), lambda: qsnapcmd.snapshot(qemu.qmp_path, directory)):
        try:
            attempt()
            raise AssertionError('not refused')
        except qsnapcmd.QsnapError as error:
            assert error.status == 1 and all(word in error.text.lower() for word in words), error
    assert_no_snapshot(directory)
    assert_as_it_was(qemu, before)
    qemu.assert_alive()


@test(small_version='10.0')
def memory_numa_backends(run):
    capture_and_revert(run, disks=run.disks(1), memory='numa')


@test(small_version='7.2')
def memory_pc_dimm(run):
    capture_and_revert(run, disks=run.disks(1), memory='pc-dimm')


@test(small_version='10.0')
def memory_memfd_shared(run):
    capture_and_revert(run, disks=run.disks(1), memory='memfd-shared')


@test(small_version='7.2')
def memory_of_a_private_file_is_refused(run):
    """userfaultfd cannot write-protect it (facts 1.9)."""
    backend = ['-object', f'memory-backend-file,id=pc.ram,size=512M,share=off,mem-path={run.file("ram")}',
               '-machine', 'memory-backend=pc.ram']
    qemu = run.boot(extra=backend)
    assert_refused(run, qemu, 'memory')


@test(small_version='10.0')
def guest_without_disks(run):
    capture_and_revert(run, disks=[])


# What the command says of a snapshot

@test(versions=('7.2',))
def verify_finds_what_changed(run):
    qemu = run.boot()
    qemu.guest('fill 64')
    captured = Capturer(run, qemu).capture()
    qsnapcmd.verify(captured.directory)
    assert qsnapcmd.show(captured.directory)['pause-us'] == captured.summary['pause-us']

    with open(os.path.join(captured.directory, 'ram', 'pc.ram'), 'r+b') as image:
        image.seek(300 << 20)
        byte = image.read(1)
        image.seek(300 << 20)
        image.write(bytes([byte[0] ^ 1]))
        image.flush()
        assert_verify_fails(captured.directory)
        image.seek(300 << 20)
        image.write(byte)
    qsnapcmd.verify(captured.directory)

    os.utime(captured.bases[0])
    assert_verify_fails(captured.directory)


def assert_verify_fails(directory):
    try:
        qsnapcmd.verify(directory)
    except qsnapcmd.QsnapError as error:
        assert error.status == 1 and error.text, error
        return
    raise AssertionError('verify has not noticed')


@test(small_version='7.2')
def export_into_a_pipe(run):
    qemu = run.boot()
    qemu.work_hard(fill_mib=64)
    captured = Capturer(run, qemu).capture()
    export, stream = qsnapcmd.start_export(captured.directory)
    reverted = harness.load_stream(qemu.hardware, stream, captured.bases)
    assert export.wait(60) == 0
    reverted.assert_consistent()
    reverted.assert_alive()
