# SPDX-License-Identifier: LGPL-2.1-or-later
"""What becomes of a guest that is back, of its clones, of the original and of the snapshot."""

import json
import os
import signal
import socket
import subprocess
import time

import harness
import processes
import qsnapcmd
from captures import Capturer, assert_reverts
from harness import wait_until
from reverts import Reverted, clone, fingerprint, hardware_of, revert
from runner import test

BALLOON = ['-device', 'virtio-balloon-pci,id=balloon0']


def boot_and_capture(run, disks=None, fill_mib=64, **hardware):
    qemu = run.boot(disks, **hardware)
    qemu.work_hard(fill_mib=fill_mib, dirty='20', rate='100')
    return qemu, Capturer(run, qemu).capture()


def assert_all_well(*guests):
    for guest in guests:
        guest.assert_alive()
        guest.assert_consistent()


def inflate_to(guest, size):
    guest.qmp('balloon', value=size)
    wait_until(lambda: guest.qmp('query-balloon')['actual'] == size, 60, 'the balloon to be inflated')


# The snapshot stays what it is

@test(small=5, full=20, timeout=240, small_version='10.0')
def many_reverts_leave_the_snapshot_alone(run):
    """One after the other, then four at once, while the original runs. QEMU 10 can map memory beside a balloon."""
    balloon = run.version != '7.2'
    qemu, captured = boot_and_capture(run, run.disks(2), extra=BALLOON if balloon else [])
    before = fingerprint(captured)
    for number in range(run.count):
        reverted = revert(qemu, captured, method='load' if number % 5 == 4 else 'map')
        reverted.assert_alive()
        reverted.kill()

    clones = clone(qemu, captured, 4, method='map')
    assert len({one.folder for one in clones}) == len({one.pid for one in clones}) == 4
    if balloon:
        inflate_to(clones[0], 256 << 20)
    assert_all_well(qemu, *clones)
    for one in clones:
        resident, share = one.resident_mib()
        print(f'clone {one.pid}: {resident} MiB resident, its share {share} MiB')
    assert fingerprint(captured) == before
    assert_reverts(qemu, captured)


@test(versions=('7.2',), timeout=180)
def balloon_on_a_qemu_that_would_punch_holes(run):
    """Refused by name where nothing can be done about it; mapped from a copy where the file system clones files."""
    qemu = run.boot(extra=BALLOON)
    qemu.work_hard(fill_mib=64, dirty='20', rate='100')
    capturer = Capturer(run, qemu)
    captured = capturer.capture()
    before = fingerprint(captured)
    if clones_files(run.folder):
        run.skip('the file system of the temporary folder clones files')
    try:
        revert(qemu, captured, method='map')
        raise AssertionError('mapped, and the balloon punches holes into the snapshot')
    except qsnapcmd.QsnapError as error:
        assert error.status == 1 and 'balloon' in error.text, error
    loaded = revert(qemu, captured)
    assert loaded.method == 'on-demand', loaded.answer
    inflate_to(loaded, 256 << 20)
    assert_all_well(qemu, loaded)
    loaded.kill()
    assert fingerprint(captured) == before

    problem = processes.mount_cloning(run.file('btrfs'))
    if problem:
        run.skip(f'refused and loaded; not tried with a file system that clones files: {problem}')
    captured = capturer.capture(directory=run.file('btrfs/snapshot'))
    before = fingerprint(captured)
    clones = clone(qemu, captured, 2, method='map')
    inflate_to(clones[0], 256 << 20)
    assert_all_well(qemu, *clones)
    assert fingerprint(captured) == before


def clones_files(folder):
    source, target = os.path.join(folder, 'source'), os.path.join(folder, 'target')
    with open(source, 'wb') as file:
        file.write(bytes(8192))
    done = subprocess.run(['cp', '--reflink=always', source, target], stderr=subprocess.DEVNULL, check=False)
    os.unlink(source)
    return done.returncode == 0


# Captures of what was reverted

@test(timeout=90, small_version='10.0')
def revert_of_a_revert(run):
    """A guest that was loaded can be captured like any other."""
    qemu, captured = boot_and_capture(run, run.disks(2))
    loaded = revert(qemu, captured, method='load')
    loaded.work_hard(fill_mib=64)
    again = Capturer(run, loaded).capture()
    qemu.kill()
    assert_reverts(loaded, again)
    loaded.assert_alive()
    second = revert(loaded, again, method='map').assert_came_back()
    chains = [harness.backing_chain(path) for path in second.all_disks()]
    assert all(len(chain) == 3 for chain in chains), chains
    assert second.folder != loaded.folder


@test(timeout=90, small_version='10.0')
def capture_of_a_mapped_guest(run):
    """Refused with its reason where the memory image is on a disk; on tmpfs QEMU can do it."""
    qemu = run.boot()
    qemu.work_hard(fill_mib=64, dirty='20', rate='100')
    capturer = Capturer(run, qemu)
    mapped = revert(qemu, capturer.capture(), method='map')
    for address in (mapped.qmp_path, mapped.address):
        try:
            qsnapcmd.snapshot(address, run.file('refused'))
            raise AssertionError('captured a guest with memory of a private file')
        except qsnapcmd.QsnapError as error:
            assert error.status == 1 and 'memory' in error.text, error
    mapped.assert_came_back()
    mapped.kill()

    if not processes.mount_tmpfs(run.file('tmpfs'), '1G'):
        run.skip('refused; not tried on tmpfs, which needs root')
    captured = capturer.capture(directory=run.file('tmpfs/snapshot'))
    mapped = revert(qemu, captured, method='map').assert_came_back()
    assert_reverts(mapped, Capturer(run, mapped).capture())
    mapped.assert_alive()


# Paused guests

@test(timeout=90, small_version='7.2')
def paused_guest_comes_back_paused(run):
    qemu = run.boot()
    qemu.work_hard(fill_mib=64)
    qemu.qmp('stop')
    captured = Capturer(run, qemu).capture()
    for method in ('map', 'load', 'on-demand'):
        assert_waits_for_cont(revert(qemu, captured, method=method))
    assert qemu.status() == 'paused'


@test(timeout=90, small_version='10.0')
def revert_that_waits(run):
    """--paused, of a guest that ran."""
    qemu, captured = boot_and_capture(run)
    for method in ('map', 'load', 'on-demand'):
        assert_waits_for_cont(revert(qemu, captured, '--paused', method=method))
    qemu.assert_alive()


def assert_waits_for_cont(reverted):
    assert reverted.status() == 'paused', reverted.status()
    reverted.assert_stopped()
    reverted.qmp('cont')
    reverted.assert_came_back()
    reverted.kill()


# Beside the original

def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@test(timeout=90, small_version='7.2')
def clone_beside_the_original(run):
    """What only one of them can have is the clone's own, or it is told what it does without."""
    port = free_port()
    qemu, captured = boot_and_capture(run, extra=[
        '-netdev', f'user,id=net0,hostfwd=tcp:127.0.0.1:{port}-:22', '-device', 'virtio-net-pci,netdev=net0,romfile=',
        '-vnc', f'unix:{run.file("vnc.sock")}', '-pidfile', run.file('qemu.pid'),
        '-chardev', f'file,id=log,path={run.file("serial.log")}', '-device', 'isa-serial,chardev=log,index=2',
        '-chardev', f'socket,id=agent,path={run.file("agent.sock")},server=on,wait=off',
        '-device', 'isa-serial,chardev=agent,index=3',
        '-monitor', f'unix:{run.file("hmp.sock")},server,nowait', '-parallel', f'file:{run.file("printer")}'])
    twin = revert(qemu, captured).assert_came_back()
    qemu.assert_alive()
    assert any('hostfwd' in warning for warning in twin.answer['warnings']), twin.answer

    names = os.listdir(twin.folder)
    for name in ('vnc.sock', 'qemu.pid', 'log.log', 'agent.sock', 'monitor0.sock', 'parallel0.log', 'qsnap.sock', 'qemu.log'):
        assert name in names, (name, names)
    assert read_text(twin.file('qemu.pid')).strip() == str(twin.pid)
    assert read_text(run.file('qemu.pid')).strip() == str(qemu.pid)
    assert os.stat(twin.folder).st_mode & 0o777 == 0o700
    with socket.create_connection(('127.0.0.1', port), 10):
        pass  # the original's
    shared = set(qemu.open_files()) & set(twin.open_files())
    assert not [name for name in shared if name.startswith((run.folder, qemu.folder)) and is_written(qemu, name)], shared


def is_written(qemu, name):
    """Whether QEMU has that file open for writing."""
    folder = f'/proc/{qemu.pid}/fd'
    for number in os.listdir(folder):
        if os.readlink(f'{folder}/{number}') == name:
            flags = read_text(f'/proc/{qemu.pid}/fdinfo/{number}').split('flags:')[1].split()[0]
            if int(flags, 8) & os.O_ACCMODE != os.O_RDONLY:
                return True
    return False


def read_text(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


@test(timeout=90, small_version='7.2')
def clones_are_new_generations(run):
    """A guest that has vmgenid is told that it was cloned: the original's number is of no clone."""
    guid = '324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87'
    qemu, captured = boot_and_capture(run, extra=['-device', f'vmgenid,guid={guid}'])
    clones = clone(qemu, captured, 2)
    generations = {one.qmp('query-vm-generation-id')['guid'] for one in [qemu, *clones]}
    assert len(generations) == 3 and guid in generations, generations
    assert_all_well(*clones)


@test(timeout=90, small_version='10.0')
def directories_of_clones(run):
    qemu, captured = boot_and_capture(run)
    clones = clone(qemu, captured, 2, '--directory', run.file('clones'))
    assert {one.folder for one in clones} == {run.file('clones/0'), run.file('clones/1')}
    assert_all_well(*clones)
    alone = revert(qemu, captured, '--directory', run.file('alone')).assert_came_back()
    assert alone.folder == run.file('alone')


# Another command line

@test(timeout=90, small_version='7.2')
def another_command_line(run):
    """What the caller gives is taken, and adapted like what was recorded."""
    qemu, captured = boot_and_capture(run, run.disks(2))
    with open(f'/proc/{qemu.pid}/cmdline', 'rb') as file:
        recorded = [os.fsdecode(word) for word in file.read().split(b'\0')[:-1]]
    assert qsnapcmd.show(captured.directory)['qemu']['command-line'] == recorded
    given = ['guest=another' if word.startswith('guest=') else word for word in recorded]
    twin = revert(qemu, captured, qemu_command=given).assert_came_back()
    assert twin.qmp('query-name') == {'name': 'another'}
    assert qemu.qmp('query-name') == {'name': 'qsnap-test'}


# The memory is what QEMU itself would have loaded

VGA_HOLE = range(0xa0000 // 4096, 0xc0000 // 4096)


@test(timeout=90, small_version='10.0')
def memory_image_equals_what_qemu_loads(run):
    """Page for page: RAM of q35 is contiguous from 0. The one hole in it is VGA's, which shows a device instead of RAM."""
    size = 512 << 20
    qemu = run.boot()
    qemu.work_hard(fill_mib=200)
    captured = Capturer(run, qemu).capture()
    loaded = revert(qemu, captured, '--paused', method='load')
    loaded.qmp('pmemsave', val=0, size=size, filename=run.file('pmemsave'))
    with open(run.file('pmemsave'), 'rb') as ours, open(os.path.join(captured.directory, 'ram/pc.ram'), 'rb') as image:
        different = [page for page in range(size // 4096) if ours.read(4096) != image.read(4096)]
    assert not set(different) - set(VGA_HOLE), [hex(page << 12) for page in different if page not in VGA_HOLE][:20]
    loaded.qmp('cont')
    loaded.assert_came_back()


# The end

@test(timeout=90, small_version='10.0')
def quit_ends_a_reverted_guest(run):
    qemu, captured = boot_and_capture(run)
    reverted = revert(qemu, captured)
    time.sleep(1)
    reverted.assert_came_back()  # long after the command that started it has ended
    qsnapcmd.quit_qemu(reverted.address)
    reverted.wait_exit(20)
    qemu.assert_alive()
    qsnapcmd.quit_qemu(qemu.qmp_path)
    assert qemu.wait_exit(20) == 0


@test(timeout=90, small_version='7.2')
def interrupt_at_the_terminal_does_not_reach_the_guest(run):
    """It has a session of its own. The shell stands for the terminal's process group that goes on after the command."""
    qemu, captured = boot_and_capture(run)
    script = f'{qsnapcmd.command()} revert "$1" --json && echo done && exec sleep 100'
    shell = processes.start(['sh', '-c', script, 'sh', captured.directory], stdout=subprocess.PIPE, text=True,
                            start_new_session=True)
    printed = ''
    while not printed.endswith('done\n'):
        line = shell.stdout.readline()
        assert line, 'the command has failed'
        printed += line
    answer = json.loads(printed.removesuffix('done\n'))
    hardware = hardware_of(qemu.hardware, captured, answer['directory'], run.version)
    reverted = Reverted(hardware, answer, qemu.boot_id)
    assert os.getsid(reverted.pid) == reverted.pid
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        try:
            os.killpg(shell.pid, number)
        except ProcessLookupError:
            break
    assert shell.wait(10) < 0
    reverted.assert_came_back()
