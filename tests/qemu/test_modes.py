# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every way to take a snapshot: disk modes and memory modes, each with the torture of a guest that counts in its memory and
on its disks in lockstep."""

import json
import os
import shutil

import harness
import processes
import qsnapcmd
from agent import FakeAgent
from captures import Capturer, assert_as_it_was, assert_is_sealed, goes_on_in
from harness import Disk, wait_until
from reverts import Reverted, hardware_of, revert
from runner import test

MEMORY_MODES = ('instant', 'live', 'stopped', 'disks-only')
DISK_MODES = ('overlay', 'clone', 'copy', 'internal')


def memory_modes(version):
    """QEMU 7.2 loses writes of a guest without KVM while it migrates: stock migrations are torn as well."""
    return [mode for mode in MEMORY_MODES if version != '7.2' or mode != 'live']


def cloning_folder(run, kind):
    problem = processes.mount_cloning(run.file(kind), kind)
    if problem:
        run.skip(problem)
    return run.file(kind)


def disks_in(folder, formats, size='64M'):
    return [Disk(harness.create_disk(os.path.join(folder, f'disk{index}.{disk_format}'), disk_format, size), disk_format)
            for index, disk_format in enumerate(formats)]


def capturer_in(run, qemu, folder):
    """Whose snapshots are on the same file system as the disks."""
    capturer = Capturer(run, qemu)
    capturer.next_directory = lambda: os.path.join(folder, f'snapshot{len(os.listdir(folder))}')
    return capturer


def assert_modes(captured, mode, disk_modes):
    assert captured.summary['mode'] == mode, captured.summary
    assert [disk['mode'] for disk in captured.summary['disks']] == disk_modes, captured.summary['disks']
    assert ('memory' in captured.summary) == (mode != 'disks-only')


def assert_boots(qemu, captured, *options):
    """From a snapshot without memory: a new boot, on disks that were stopped at one instant."""
    answer = qsnapcmd.revert(captured.directory, *options)
    reverted = Reverted(hardware_of(qemu.hardware, captured, answer['directory'], qemu.version), answer, None)
    reverted.wait_ready(timeout=60)
    assert reverted.boot_id != qemu.boot_id
    reverted.assert_consistent()
    reverted.assert_alive()
    end(reverted)


def end(reverted):
    """What stands on a snapshot keeps it from being deleted."""
    reverted.kill()
    shutil.rmtree(reverted.folder)


def assert_comes_back(qemu, captured, mode):
    if mode == 'disks-only':
        assert_boots(qemu, captured)
        return
    end(revert(qemu, captured).assert_came_back())


def torture(qemu, capturer, mode, disk_modes, *options):
    before = qemu.fingerprint()
    captured = capturer.capture('--mode', mode, *options)
    assert_modes(captured, mode, disk_modes)
    qemu.assert_alive()
    if 'overlay' not in disk_modes:
        assert_as_it_was(qemu, before)
    assert_is_sealed(captured.directory)
    assert_comes_back(qemu, captured, mode)
    return captured


def forget(qemu, captured):
    """Snapshots are deleted in between, so that neither chain nor disk grow."""
    qsnapcmd.run('delete', captured.directory, qemu.qmp_path)
    assert not os.path.exists(captured.directory), os.listdir(captured.directory)


# Disk mode x memory mode

@test(small=1, full=5, timeout=90, small_version='10.0')
def every_disk_mode(run):
    """Instantly, two disks each."""
    folder = cloning_folder(run, 'btrfs')
    qemu = run.boot(disks_in(folder, ['qcow2', 'qcow2']))
    qemu.work_hard(fill_mib=64)
    before = qemu.fingerprint()
    capturer = capturer_in(run, qemu, folder)
    for _ in range(run.count):
        for disk_mode in DISK_MODES:
            captured = torture(qemu, capturer, 'instant', [disk_mode] * 2, '--disk-mode', disk_mode)
            capturer.disk_files = captured.sources
            forget(qemu, captured)
            qemu.assert_alive()
    assert_as_it_was(qemu, before)


@test(small=1, full=5, timeout=90)
def every_memory_mode(run):
    """Disks of different modes at once: two of them, another pair each time."""
    folder = cloning_folder(run, 'xfs')
    qemu = run.boot(disks_in(folder, ['raw', 'qcow2']))
    qemu.work_hard(fill_mib=64, dirty='500')
    before = qemu.fingerprint()
    capturer = capturer_in(run, qemu, folder)
    pairs = {'instant': ('copy', 'internal'), 'live': ('clone', 'overlay'), 'stopped': ('copy', 'clone'),
             'disks-only': ('overlay', 'copy')}
    for _ in range(run.count):
        for mode in memory_modes(run.version):
            first, second = pairs[mode]
            captured = torture(qemu, capturer, mode, [first, second], '--disk-mode', first, '--disk', f'drive1={second}')
            capturer.disk_files = captured.sources
            forget(qemu, captured)
            qemu.assert_alive()
    assert_as_it_was(qemu, before)


@test(small=1, full=3, timeout=400, small_version='7.2')
def every_combination(run):
    """All that make sense; in the full count only, but for the first."""
    folder = cloning_folder(run, 'btrfs')
    qemu = run.boot(disks_in(folder, ['qcow2', 'qcow2']))
    qemu.work_hard(fill_mib=32, dirty='500')
    capturer = capturer_in(run, qemu, folder)
    cells = [(mode, disk_mode) for mode in memory_modes(run.version) for disk_mode in DISK_MODES
             if (mode, disk_mode) != ('live', 'copy')]
    for mode, disk_mode in cells[:1] if run.count == 1 else cells * (run.count - 1):
        captured = torture(qemu, capturer, mode, [disk_mode] * 2, '--disk-mode', disk_mode)
        print(f'{mode} | {disk_mode} | {run.version} | pause {captured.summary["timing"]["pause-us"]} us')
        capturer.disk_files = captured.sources
        forget(qemu, captured)


# What single modes promise

@test(timeout=90, small_version='10.0')
def copies_stand_alone(run):
    """A snapshot that was moved comes back after the original disks are gone."""
    qemu = run.boot(run.disks(2, 'qcow2'))
    qemu.work_hard(fill_mib=32)
    captured = Capturer(run, qemu).capture('--disk-mode', 'copy')
    qemu.kill()
    for disk in qemu.hardware.disks:
        os.unlink(disk.path)
    captured.directory = shutil.copytree(captured.directory, run.file('elsewhere'))
    revert(qemu, captured).assert_came_back().kill()


@test(timeout=90, small_version='7.2')
def copies_of_the_top_only(run):
    """The copy stands on the template, as the guest's image does."""
    template = harness.create_disk(run.file('template.qcow2'), 'qcow2')
    image = harness.create_overlay(run.file('disk0.qcow2'), template, 'qcow2')
    qemu = run.boot([Disk(image, 'qcow2')])
    qemu.work_hard(fill_mib=32)
    captured = Capturer(run, qemu).capture('--disk', 'drive0=copy:sync=top')
    assert harness.backing_chain(captured.bases[0])[1:] == [template]
    revert(qemu, captured).assert_came_back().kill()
    qemu.assert_alive()


@test(timeout=90, small_version='10.0')
def clones_with_what_qcow2_has(run):
    """Lazy refcounts, a persistent bitmap, a backing file whose name is relative."""
    folder = cloning_folder(run, 'xfs')
    harness.create_disk(os.path.join(folder, 'template.qcow2'), 'qcow2')
    image = os.path.join(folder, 'disk0.qcow2')
    harness.qemu_img('create', '-q', '-f', 'qcow2', '-o', 'lazy_refcounts=on,compat=1.1', '-b', 'template.qcow2',
                     '-F', 'qcow2', image)
    harness.qemu_img('bitmap', '--add', image, 'backup')
    qemu = run.boot([Disk(image, 'qcow2')])
    qemu.work_hard(fill_mib=32)
    capturer = capturer_in(run, qemu, folder)
    captured = torture(qemu, capturer, 'instant', ['clone'], '--disk-mode', 'clone')
    reverted = revert(qemu, captured, method='load')
    reverted.assert_came_back()
    again = Capturer(run, reverted).capture('--disk-mode', 'copy')
    end(reverted)
    assert goes_on_in(again.summary['disks'][0]) == again.sources[0]
    qsnapcmd.run('delete', captured.directory)


@test(timeout=90, small_version='7.2')
def bitmaps_go_on(run):
    """Who makes incremental backups finds its bitmap in the overlay."""
    image = harness.create_disk(run.file('disk0.qcow2'), 'qcow2')
    harness.qemu_img('bitmap', '--add', image, 'backup')
    qemu = run.boot([Disk(image, 'qcow2')])
    qemu.work_hard(fill_mib=16)
    Capturer(run, qemu).capture()
    qemu.assert_alive()
    inserted = qemu.qmp('query-block')[0]['inserted']
    assert [(one['name'], one['persistent'], one['recording']) for one in inserted['dirty-bitmaps']] == \
        [('backup', True, True)], inserted['dirty-bitmaps']


@test(timeout=60, small_version='10.0')
def auto_clones_where_it_can(run):
    folder = cloning_folder(run, 'btrfs')
    qemu = run.boot(disks_in(folder, ['raw']))
    captured = capturer_in(run, qemu, folder).capture('--disk-mode', 'auto')
    assert_modes(captured, 'instant', ['clone'])
    captured = Capturer(run, qemu).capture('--disk-mode', 'auto')
    assert_modes(captured, 'instant', ['overlay'])
    text = qsnapcmd.refusal('snapshot', qemu.qmp_path, run.file('refused'), '--disk-mode', 'clone')
    assert 'cannot be cloned' in text, text


@test(timeout=60, small_version='7.2')
def excluded_disks(run):
    """And a read-only one, which is recorded."""
    cdrom = harness.create_disk(run.file('cdrom.raw'), size='1M')
    qemu = run.boot(run.disks(2), extra=['-drive', f'if=none,id=cd,media=cdrom,format=raw,file={cdrom}',
                                         '-device', 'virtio-scsi-pci,id=cd-bus', '-device', 'scsi-cd,bus=cd-bus.0,drive=cd'])
    qemu.work_hard(fill_mib=16)
    captured = Capturer(run, qemu).capture('--disk', 'drive1=exclude')
    assert_modes(captured, 'instant', ['overlay', 'exclude'])
    assert [drive['file'] for drive in captured.summary['read-only-disks']] == [run.file('cdrom.raw')], captured.summary
    assert qemu.disk_files()[1] == qemu.hardware.disks[1].path
    qemu.assert_alive()
    text = qsnapcmd.refusal('revert', captured.directory)
    assert 'a QEMU may write to its image' in text, text
    qemu.kill()
    answer = qsnapcmd.revert(captured.directory)
    reverted = Reverted(hardware_of(qemu.hardware, captured, answer['directory'], qemu.version), answer, qemu.boot_id)
    assert any('was left out of the snapshot' in warning for warning in answer['warnings']), answer
    reverted.guest('status')
    reverted.kill()


@test(timeout=60, small_version='10.0')
def prepared_overlay(run):
    """Of a name of the caller's own, in the right way and in wrong ones."""
    qemu = run.boot(run.disks(1))
    qemu.work_hard(fill_mib=16)
    base = qemu.hardware.disks[0].path
    wrong = harness.create_overlay(run.file('wrong.qcow2'), harness.create_disk(run.file('other.raw')), 'raw')
    before = qemu.fingerprint()
    for options, word in (((f'drive0=overlay:file={wrong}:reuse',), 'backing file is not'),
                          ((f'drive0=overlay:file={wrong}',), 'is there already')):
        text = qsnapcmd.refusal('snapshot', qemu.qmp_path, run.file('refused'), '--disk', *options)
        assert word in text, text
    assert_as_it_was(qemu, before)
    prepared = harness.create_overlay(run.file('mine.qcow2'), base, 'raw')
    capturer = Capturer(run, qemu)
    captured = capturer.capture('--disk', f'drive0=overlay:file={prepared}:reuse')
    assert qemu.disk_files() == [prepared]
    named = run.file('named.qcow2')
    capturer.capture('--disk', f'drive0=overlay:file={named}')
    assert qemu.disk_files() == [named]
    qemu.assert_alive()
    revert(qemu, captured).assert_came_back().kill()


# Copies take their time

def start_slow_copy(run, qemu, name):
    """(directory, the command under way): the guest runs, its disk is being copied, some MiB a second. What QEMU has begun
    when it drains its disks it brings to an end at once: a disk has to be larger than that."""
    qemu.qmp('object-add', qom_type='throttle-group', id=name, limits={'bps-write': 8 << 20})
    target = harness.create_disk(run.file(f'{name}.raw'), size='512M')
    options = json.dumps({'driver': 'throttle', 'throttle-group': name, 'file': {'driver': 'file', 'filename': target}})
    directory = run.file(f'snapshot-{name}')
    running = qsnapcmd.RunningSnapshot(qemu.qmp_path, directory, '--disk', f'drive0=copy:target={options}')

    def is_saving():
        assert running.is_running(), running.finish()
        journal = os.path.join(directory, 'journal.json')
        if not os.path.exists(journal):
            return False
        with open(journal, encoding='utf-8') as file:
            return json.load(file)['step'] == 'saving'
    wait_until(is_saving, 40, 'the memory to be saved')
    jobs = qemu.qmp('query-jobs')
    assert [(job['type'], job['status']) for job in jobs] == [('backup', 'running')], jobs
    return directory, running


@test(timeout=90, small_version='10.0')
def copying_is_cancelled(run):
    qemu = run.boot(run.disks(1, size='512M'))
    qemu.work_hard(fill_mib=16)
    before = qemu.fingerprint()
    directory, running = start_slow_copy(run, qemu, 'slow')
    running.interrupt()
    try:
        running.finish()
    except qsnapcmd.QsnapError as error:
        assert 'ancelled' in error.text, error
        assert 'could not be undone' not in error.text, error
    else:
        raise AssertionError('not cancelled')
    assert_as_it_was(qemu, before)
    assert not os.path.exists(directory), os.listdir(directory)
    qemu.assert_alive()


@test(timeout=90, small_version='7.2')
def application_dies_while_copying(run):
    """QEMU goes on copying; recovery waits for it, and seals."""
    qemu = run.boot(run.disks(1, size='512M'))
    qemu.work_hard(fill_mib=16)
    before = qemu.fingerprint()
    directory, running = start_slow_copy(run, qemu, 'slow')
    running.kill()
    qemu.qmp('qom-set', path='/objects/slow', property='limits', value={'bps-write': 0})
    answer = json.loads(qsnapcmd.run('recover', qemu.qmp_path, directory, '--json'))
    assert answer, answer
    assert_as_it_was(qemu, before)
    assert_is_sealed(directory)
    qemu.assert_alive()


# Other drivers

class NbdServer:
    """qemu-nbd, of one image on a unix socket."""

    def __init__(self, run, image, disk_format):
        self.socket = run.file(f'{os.path.basename(image)}.nbd')
        self._process = processes.start(['qemu-nbd', '-x', 'disk', '-f', disk_format, '-t', '-e', '8', '-k', self.socket,
                                         image])
        wait_until(lambda: os.path.exists(self.socket), 10, 'qemu-nbd')

    def target(self):
        return json.dumps({'driver': 'nbd', 'server': {'type': 'unix', 'path': self.socket}, 'export': 'disk'})

    def end(self):
        self._process.terminate()
        self._process.wait(10)


@test(timeout=90, small_version='7.2')
def copy_to_an_nbd_server(run):
    qemu = run.boot(run.disks(1, 'qcow2'))
    qemu.work_hard(fill_mib=32)
    before = qemu.fingerprint()
    server = NbdServer(run, harness.create_disk(run.file('target.raw')), 'raw')
    captured = Capturer(run, qemu).capture('--disk', f'drive0=copy:target={server.target()}')
    assert_as_it_was(qemu, before)
    revert(qemu, captured).assert_came_back().kill()
    server.end()
    qemu.assert_alive()


@test(small=5, full=30, timeout=200, small_version='7.2')
def overlay_on_an_nbd_server(run):
    """The guest goes on there. A copy of so small an image is made while QEMU still flushes for the migration's start."""
    qemu = run.boot(run.disks(1, 'qcow2'))
    qemu.work_hard(fill_mib=32)
    server = NbdServer(run, harness.create_disk(run.file('target.raw'), size='256M'), 'raw')
    directory = run.file('snapshot')
    qsnapcmd.snapshot(qemu.qmp_path, directory, '--disk', f'drive0=overlay:target={server.target()}')
    qemu.assert_alive()
    assert 'nbd' in qemu.disk_files()[0], qemu.disk_files()
    text = qsnapcmd.refusal('snapshot', qemu.qmp_path, run.file('second'))
    assert 'local file' in text, text
    for i in range(run.count):
        qsnapcmd.snapshot(qemu.qmp_path, run.file(f'copy{i}'), '--disk-mode', 'copy')
    qemu.qmp('query-named-block-nodes')
    qemu.assert_consistent()
    qemu.kill()
    server.end()


# The guest afterwards

@test(timeout=120, small_version='10.0')
def leave(run):
    """Running, paused, quit: of a guest that ran."""
    qemu = run.boot(run.disks(1))
    qemu.work_hard(fill_mib=32, dirty='500')
    capturer = Capturer(run, qemu)
    for mode in memory_modes(run.version):
        captured = capturer.capture('--mode', mode, '--leave', 'paused')
        assert qemu.status() == 'paused', qemu.status()
        qemu.assert_stopped()
        qemu.qmp('cont')
        qemu.assert_alive()
        assert_comes_back(qemu, captured, mode)
    captured = capturer.capture('--leave', 'quit')
    assert qemu.wait_exit(20) == 0
    assert_is_sealed(captured.directory)
    assert_comes_back(qemu, captured, 'instant')


@test(timeout=60, small_version='10.0')
def quit_without_memory(run):
    qemu = run.boot(run.disks(1))
    qemu.work_hard(fill_mib=16)
    captured = Capturer(run, qemu).capture('--mode', 'disks-only', '--leave', 'quit')
    assert qemu.wait_exit(20) == 0
    assert_boots(qemu, captured)


@test(timeout=60, small_version='7.2')
def fallback_where_memory_cannot_be_tracked(run):
    """A private mapping of a file that is not on tmpfs."""
    memory = ['-object', f'memory-backend-file,id=pc.ram,size=512M,mem-path={run.file("ram")},share=off',
              '-machine', 'memory-backend=pc.ram']
    qemu = run.boot(run.disks(1), extra=memory)
    qemu.work_hard(fill_mib=32, dirty='500')
    before = qemu.fingerprint()
    text = qsnapcmd.refusal('snapshot', qemu.qmp_path, run.file('refused'))
    assert 'cannot track writes' in text, text
    assert_as_it_was(qemu, before)
    fallback = memory_modes(run.version)[1]
    captured = Capturer(run, qemu).capture('--fallback', fallback)
    assert_modes(captured, fallback, ['overlay'])
    warnings = captured.summary['warnings']
    assert any(f'the mode is {fallback}: QEMU cannot track writes' in warning for warning in warnings), warnings
    qemu.assert_alive()
    revert(qemu, captured).assert_came_back().kill()


@test(versions=['7.2'], timeout=60)
def live_is_refused_without_kvm(run):
    qemu = run.boot(run.disks(1))
    before = qemu.fingerprint()
    text = qsnapcmd.refusal('snapshot', qemu.qmp_path, run.file('refused'), '--mode', 'live')
    assert 'without KVM' in text, text
    assert_as_it_was(qemu, before)


@test(versions=['10.0'], timeout=60)
def live_comes_to_an_end(run):
    """A guest that writes faster than its memory can be saved."""
    qemu = run.boot(run.disks(1))
    qemu.work_hard(fill_mib=200, dirty='max')
    captured = Capturer(run, qemu).capture('--mode', 'live')
    qemu.assert_alive()
    revert(qemu, captured).assert_came_back().kill()


@test(timeout=60, small_version='7.2')
def monitor_over_tcp_has_its_disks_only(run):
    qemu = run.boot(run.disks(1), extra=['-chardev', 'socket,id=tcp,host=127.0.0.1,port=0,server=on,wait=off',
                                         '-mon', 'chardev=tcp,mode=control'])
    qemu.work_hard(fill_mib=16)
    info = next(one['filename'] for one in qemu.qmp('query-chardev') if one['label'] == 'tcp')
    address = 'tcp:127.0.0.1:' + info.rsplit(':', 1)[1].split(',')[0]
    directory = run.file('snapshot')
    summary = qsnapcmd.snapshot(address, directory, '--mode', 'disks-only')
    qemu.assert_alive()
    assert qemu.disk_files() == [summary['disks'][0]['overlay']['file']]


# Quiesce

@test(timeout=60, small_version='10.0')
def quiesced(run):
    """Frozen before the disks are snapshot, thawed as soon as the guest runs."""
    qemu = run.boot(run.disks(1))
    qemu.work_hard(fill_mib=16)
    agent = FakeAgent(run.file('agent.sock'))
    captured = Capturer(run, qemu).capture('--mode', 'disks-only', '--quiesce', run.file('agent.sock'))
    assert not agent.frozen and agent.count('guest-fsfreeze-freeze') == 1, agent.commands
    qemu.assert_alive()
    before = qemu.fingerprint()
    agent.freeze_error = 'no'
    text = qsnapcmd.refusal('snapshot', qemu.qmp_path, run.file('refused'), '--mode', 'disks-only', '--quiesce',
                            run.file('agent.sock'))
    assert 'freezing the guest' in text, text
    assert not agent.frozen
    assert_as_it_was(qemu, before)
    agent.close()
    assert_boots(qemu, captured)


def needs_recovery(image):
    """Whether an ext4 was not brought to rest."""
    return 'needs_recovery' in processes.run(['/sbin/dumpe2fs', '-h', image]).stdout


@test(timeout=60, small_version='10.0')
def quiesced_by_the_real_agent(run):
    """The file system in the snapshot is as after an orderly end, and the guest's goes on."""
    image = harness.create_disk(run.file('fs.raw'), size='64M')
    assert processes.run(['/sbin/mkfs.ext4', '-q', image]).returncode == 0
    qemu = run.boot(run.disks(1), file_system=image)
    for index, quiesce in enumerate(((), ('--quiesce', f'{image}.agent'))):
        summary = qsnapcmd.snapshot(qemu.qmp_path, run.file(f'snapshot{index}'), '--mode', 'disks-only', '--disk-mode', 'copy',
                                    *quiesce)
        copy = next(disk for disk in summary['disks'] if disk['source']['file'] == image)
        harness.qemu_img('convert', '-O', 'raw', os.path.join(run.file(f'snapshot{index}'), copy['base']['file']),
                         run.file('at-the-point'))
        assert needs_recovery(run.file('at-the-point')) == (not quiesce)
        assert not summary['warnings'], summary['warnings']
        assert needs_recovery(image)
        qemu.assert_alive()
