# SPDX-License-Identifier: LGPL-2.1-or-later
"""What people get wrong, by the qsnap command: each its own clear error, and a guest that has not noticed."""

import contextlib
import os
import socket
import threading
import time

import harness
import processes
import qsnapcmd
from captures import Capturer, assert_as_it_was, assert_is_sealed, assert_no_snapshot
from runner import test


AS_NOBODY = {'user': 'nobody', 'group': 'nogroup', 'extra_groups': []}


def error_of(*arguments, timeout=50, **options):
    """The one line (or more) on stderr of a command that has to fail."""
    try:
        qsnapcmd.run(*arguments, timeout=timeout, **options)
    except qsnapcmd.QsnapError as error:
        assert error.status == 1, error
        assert error.text, 'no word about what is wrong'
        assert 'CRITICAL' not in error.text and 'WARNING' not in error.text, error
        return error.text
    raise AssertionError(f'{arguments} should have failed')


@contextlib.contextmanager
def server(path, serve):
    """Somebody who listens there and is no QEMU."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection = listener.accept()[0]
                connections.append(connection)
                serve(connection)
    connections = []
    threading.Thread(target=accept, daemon=True).start()
    yield path
    listener.close()
    for connection in connections:
        connection.close()


@test(versions=(), timeout=30)
def usage_errors(run):
    for arguments in ((), ('nonsense',), ('snapshot',), ('snapshot', 'only-an-address'), ('show',)):
        try:
            qsnapcmd.run(*arguments)
            raise AssertionError(f'{arguments} is no usage')
        except qsnapcmd.QsnapError as error:
            assert error.status == 2 and error.text, error


@test(versions=(), timeout=30)
def no_socket(run):
    path = run.file('nobody.sock')
    assert path in error_of('check', path)
    assert path in error_of('snapshot', path, run.file('snapshot'))
    assert_no_snapshot(run.file('snapshot'))


@test(versions=(), timeout=30)
def nobody_listens(run):
    path = run.file('dead.sock')
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
    error_of('check', path)


@test(versions=(), timeout=30)
def not_qmp(run):
    with server(run.file('other.sock'), lambda peer: peer.sendall(b'220 mail.example ESMTP\r\n')) as path:
        error_of('check', path)


@test(versions=(), timeout=30)
def json_but_not_qmp(run):
    with server(run.file('other.sock'), lambda peer: peer.sendall(b'{"jsonrpc": "2.0"}\n')) as path:
        error_of('check', path)


@test(versions=(), timeout=30)
def peer_hangs_up(run):
    with server(run.file('other.sock'), lambda peer: peer.close()) as path:
        error_of('check', path)


@test(versions=(), timeout=120)
def greeting_never_comes(run):
    with server(run.file('silent.sock'), lambda peer: None) as path:
        error_of('check', path, timeout=100)


@test(small_version='10.0')
def monitor_is_taken(run):
    """QEMU's chardev serves one client: a second one gets no greeting."""
    qemu = run.boot()
    other = qemu.second_monitor()
    error_of('snapshot', qemu.qmp_path, run.file('snapshot'), timeout=50)
    other.close()
    qemu.assert_alive()


@test(small_version='7.2')
def directory_has_a_snapshot(run):
    qemu = run.boot()
    captured = Capturer(run, qemu).capture()
    before = qemu.fingerprint()
    assert captured.directory in error_of('snapshot', qemu.qmp_path, captured.directory)
    assert_as_it_was(qemu, before)
    assert_is_sealed(captured.directory)
    qemu.assert_alive()


@test(small_version='7.2')
def disk_is_full(run):
    """Less room than the guest's memory: refused before anything changes."""
    qemu = run.boot()
    qemu.guest('fill 200')
    before = qemu.fingerprint()
    small = run.file('small')
    if not processes.mount_tmpfs(small, '32M'):
        run.skip('a small file system cannot be mounted (needs root)')
    error_of('snapshot', qemu.qmp_path, os.path.join(small, 'snapshot'))
    assert_no_snapshot(os.path.join(small, 'snapshot'))
    assert_as_it_was(qemu, before)
    qemu.assert_alive()
    qemu.assert_consistent()


@test(timeout=90, small_version='10.0')
def disk_fills_up_while_memory_is_saved(run):
    """Room enough at the start; then somebody else takes it."""
    qemu = run.boot(memory='large')
    qemu.work_hard(fill_mib=600)
    before = qemu.fingerprint()
    small = run.file('small')
    if not processes.mount_tmpfs(small, '1600M'):
        run.skip('a small file system cannot be mounted (needs root)')
    directory = os.path.join(small, 'snapshot')
    running = qsnapcmd.RunningSnapshot(qemu.qmp_path, directory)
    qemu.wait_memory_is_being_saved()
    take_all_space(os.path.join(small, 'taken'))
    try:
        running.finish()
        raise AssertionError('sealed on a full disk')
    except qsnapcmd.QsnapError as error:
        assert error.status == 1 and error.text, error
    assert_no_snapshot(directory)
    assert_as_it_was(qemu, before)
    qemu.assert_alive()
    qemu.assert_consistent()


def take_all_space(path):
    with open(path, 'wb', buffering=0) as file, contextlib.suppress(OSError):
        while True:
            os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, 1 << 20)


def skip_unless_root(run):
    if os.getuid() != 0:
        run.skip('changing the user needs root')


@test(small_version='7.2')
def no_permission_for_the_socket(run):
    skip_unless_root(run)
    qemu = run.boot()
    os.chmod(qemu.qmp_path, 0o700)
    error_of('check', qemu.qmp_path, **AS_NOBODY)
    qemu.assert_alive()


@test(small_version='10.0')
def no_permission_for_the_directory(run):
    skip_unless_root(run)
    qemu = run.boot()
    before = qemu.fingerprint()
    for path in (qemu.qmp_path, qemu.folder, run.folder, os.path.dirname(run.folder)):
        os.chmod(path, 0o777 if path == qemu.qmp_path else 0o755)
    error_of('snapshot', qemu.qmp_path, run.file('snapshot'), **AS_NOBODY)
    assert_no_snapshot(run.file('snapshot'))
    assert_as_it_was(qemu, before)
    qemu.assert_alive()


@test(small_version='7.2')
def guest_that_never_ran_is_refused_by_name(run):
    """Started with -S: prelaunch."""
    qemu = harness.Qemu(harness.Hardware(run.version, run.disks(), extra=['-S']))
    assert 'prelaunch' in error_of('snapshot', qemu.qmp_path, run.file('snapshot'))
    assert_no_snapshot(run.file('snapshot'))


@test(small_version='10.0')
def migration_under_way_is_refused(run):
    qemu = run.boot()
    qemu.guest('fill 200')
    qemu.qmp('migrate-set-parameters', max_bandwidth=1 << 20)
    qemu.qmp('migrate', uri='exec:cat >/dev/null')
    time.sleep(0.5)
    error_of('snapshot', qemu.qmp_path, run.file('snapshot'))
    assert qemu.migration()['status'] == 'active'
    assert_no_snapshot(run.file('snapshot'))
    qemu.qmp('migrate_cancel')
    qemu.assert_alive()


@test(small_version='7.2')
def block_job_under_way_is_refused(run):
    qemu = run.boot()
    qemu.qmp('drive-mirror', job_id='mirror', device=qemu.disk_nodes()[0], target=run.file('mirror.raw'), format='raw',
             sync='full', speed=1 << 20)
    assert 'mirror' in error_of('snapshot', qemu.qmp_path, run.file('snapshot'))
    assert [job['id'] for job in qemu.qmp('query-jobs')] == ['mirror']
    assert_no_snapshot(run.file('snapshot'))
    qemu.qmp('block-job-cancel', device='mirror', force=True)
    qemu.assert_alive()


@test(versions=('7.2',))
def qemu_without_permission_to_track_memory(run):
    """A QEMU of an ordinary user, who may not use userfaultfd for faults in the kernel. It runs its firmware only: the
    guest's kernel is in a cache that it cannot read."""
    skip_unless_root(run)
    with open('/proc/sys/vm/unprivileged_userfaultfd', encoding='ascii') as setting:
        if setting.read().strip() != '0':
            run.skip('every user may use userfaultfd here')
    socket_path = run.file('nobody.sock')
    for path in (run.folder, os.path.dirname(run.folder)):
        os.chmod(path, 0o777)
    processes.start(['qemu-system-x86_64', '-accel', 'tcg', '-m', '64', '-display', 'none', '-nodefaults', '-qmp',
                      f'unix:{socket_path},server=on,wait=off'], **AS_NOBODY)
    harness.wait_until(lambda: os.path.exists(socket_path), 20, 'the monitor of that QEMU')
    time.sleep(0.5)
    for arguments in (('check', socket_path), ('snapshot', socket_path, run.file('snapshot'))):
        text = error_of(*arguments)
        assert 'host kernel' in text and 'CAP_SYS_PTRACE' in text and 'unprivileged_userfaultfd' in text, text
    assert_no_snapshot(run.file('snapshot'))


@test(small_version='10.0')
def directory_is_no_name(run):
    """Its name is the snapshot's, unless it is given one."""
    qemu = run.boot()
    directory = run.file('two\nlines')
    assert 'no valid name' in error_of('snapshot', qemu.qmp_path, directory)
    assert not os.path.exists(directory)
    qsnapcmd.run('snapshot', qemu.qmp_path, directory, '--name', 'one line')
    assert qsnapcmd.show(directory)['name'] == 'one line'
    qemu.assert_alive()


@test(small_version='7.2')
def writers_past_qemu_are_refused_by_name(run):
    """What QEMU's memory tracking, or an overlay, does not see. Nothing of it needs a second program."""
    folder = run.file('folder')
    os.mkdir(folder)
    qemu = run.boot(extra=[
        '-object', 'memory-backend-ram,id=shared,size=1M,share=on', '-device', 'ivshmem-plain,memdev=shared',
        '-drive', f'file=fat:rw:{folder},if=none,id=fat,format=raw', '-device', 'virtio-blk-pci,drive=fat',
        '-drive', f'file={harness.create_disk(run.file("temporary.raw"))},if=none,id=throwaway,format=raw,snapshot=on',
        '-blockdev', f'driver=file,node-name=libvirt-1-format,filename={harness.create_disk(run.file("managed.raw"))}'])
    qemu.qmp('nbd-server-start', addr={'type': 'unix', 'data': {'path': run.file('nbd.sock')}})
    qemu.qmp('block-export-add', type='nbd', id='read-only', node_name='libvirt-1-format', writable=False)
    text = error_of('check', qemu.qmp_path)
    for word in ('ivshmem', 'vvfat', '-snapshot', 'libvirt'):
        assert word in text, (word, text)
    assert 'read-only' not in text, text
    assert qemu.guest('status')['torn'] == 0


@test(small_version='10.0')
def writable_export_is_refused_by_name(run):
    """The guest's disk and an NBD client write to the same image; read-only, the export does no harm."""
    qemu = run.boot(extra=['-blockdev', f'driver=file,node-name=shared,filename={harness.create_disk(run.file("shared.raw"))}',
                           '-device', 'virtio-blk-pci,drive=shared,share-rw=on'])
    qemu.qmp('nbd-server-start', addr={'type': 'unix', 'data': {'path': run.file('nbd.sock')}})
    qemu.qmp('block-export-add', type='nbd', id='looking', node_name='shared', name='looking', writable=False)
    qsnapcmd.check(qemu.qmp_path)
    qemu.qmp('block-export-add', type='nbd', id='writing', node_name='shared', name='writing', writable=True)
    assert 'shared is exported writable' in error_of('check', qemu.qmp_path)
    assert qemu.guest('status')['torn'] == 0


@test(small_version='7.2')
def monitor_over_tcp_can_only_look(run):
    """Descriptors do not travel over TCP."""
    qemu = run.boot(extra=['-qmp', 'tcp:127.0.0.1:0,server=on,wait=off'])
    label = next(one for one in qemu.qmp('query-chardev') if 'tcp:127.0.0.1' in one['filename'])
    port = label['filename'].split('127.0.0.1:')[1].split(',')[0]
    text = error_of('snapshot', f'tcp:127.0.0.1:{port}', run.file('snapshot'))
    assert 'file descriptors' in text and 'unix socket' in text, text
    assert_no_snapshot(run.file('snapshot'))
    qemu.assert_alive()
