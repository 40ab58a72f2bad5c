# SPDX-License-Identifier: LGPL-2.1-or-later
"""What else people take snapshots with. Each function takes one of a guest that runs, and leaves it running."""

import functools
import time

import harness
from by_hand import StreamFile, set_capabilities, snapshot_disks
from libvirtd import Domain, Libvirtd
from running import wait_until

TIMEOUT = 300  # seconds
DEFAULT_BANDWIDTH = 128 << 20
RAISED_BANDWIDTH = 1 << 40


# In the image

def savevm(qemu, _folder):
    """All of it with the guest stopped, and with QMP deaf."""
    command(qemu, 'savevm bench')


def command(qemu, line):
    answer = qemu.qmp('human-monitor-command', command_line=line, timeout=TIMEOUT)
    if answer.strip():
        raise RuntimeError(f'{line}: {answer}')


def snapshot_save(qemu, _folder):
    """The same as a job."""
    nodes = qemu.disk_nodes()
    qemu.qmp('snapshot-save', job_id='save', tag='bench', vmstate=nodes[0], devices=nodes)
    end_job(qemu, 'save')


def end_job(qemu, job_id):
    def has_concluded():
        return next(job['status'] for job in qemu.qmp('query-jobs') if job['id'] == job_id) == 'concluded'
    wait_until(has_concluded, TIMEOUT, f'job {job_id}', interval=0.005)
    errors = [job['error'] for job in qemu.qmp('query-jobs') if 'error' in job]
    qemu.qmp('job-dismiss', id=job_id)
    if errors:
        raise RuntimeError(errors[0])


def delete_internal(qemu):
    """So that the next one finds as much room."""
    command(qemu, 'delvm bench')


# By a migration into a file

def start_migration(qemu, folder):
    stream = StreamFile(f'{folder}/stream')
    stream.hand_over(qemu)
    qemu.qmp('migrate', uri='fd:stream')
    return stream


def wait_migration(qemu, status, mark):
    qemu.monitor.wait_event('MIGRATION', since=mark, status=status, timeout=TIMEOUT)


def stop_and_migrate(qemu, folder, bandwidth):
    """As libvirt does it without --live."""
    mark = qemu.monitor.mark()
    set_capabilities(qemu, ('events',), True)
    qemu.qmp('migrate-set-parameters', max_bandwidth=bandwidth)
    qemu.qmp('stop')
    snapshot_disks(qemu, folder)
    stream = start_migration(qemu, folder)
    wait_migration(qemu, 'completed', mark)
    qemu.qmp('cont')
    stream.finish()
    qemu.qmp('migrate-set-parameters', max_bandwidth=DEFAULT_BANDWIDTH)
    set_capabilities(qemu, ('events',), False)


def precopy(qemu, folder):
    """As libvirt does it with --live: the moment that is captured is the end."""
    capabilities = 'events', 'pause-before-switchover'
    mark = qemu.monitor.mark()
    set_capabilities(qemu, capabilities, True)
    qemu.qmp('migrate-set-parameters', max_bandwidth=RAISED_BANDWIDTH)
    stream = start_migration(qemu, folder)
    wait_migration(qemu, 'pre-switchover', mark)
    snapshot_disks(qemu, folder)
    qemu.qmp('migrate-continue', state='pre-switchover')
    wait_migration(qemu, 'completed', mark)
    qemu.qmp('cont')
    stream.finish()
    qemu.qmp('migrate-set-parameters', max_bandwidth=DEFAULT_BANDWIDTH)
    set_capabilities(qemu, capabilities, False)


# libvirt

def boot_libvirt(run, mib):
    """(its domain, the QEMU of that); harness.Skip where libvirt is not installed."""
    disk = harness.Disk(harness.create_disk(run.file(f'libvirt-{time.monotonic_ns()}.qcow2'), 'qcow2'), 'qcow2')
    domain = Domain(Libvirtd(run.version), [disk], memory_mib=mib)
    return domain, domain.boot()


def libvirt(domain, _qemu, folder, live):
    name = f'bench{time.monotonic_ns()}'
    domain.virsh('snapshot-create-as', '--name', name, '--atomic', *(['--live'] if live else []),
                 '--memspec', f'file={folder}/{name}.memory,snapshot=external',
                 '--diskspec', f'vda,snapshot=external,file={folder}/{name}.qcow2')


METHODS = {
    'savevm': savevm,
    'snapshot-save': snapshot_save,
    'stop, migrate': functools.partial(stop_and_migrate, bandwidth=DEFAULT_BANDWIDTH),
    'stop, migrate, unlimited': functools.partial(stop_and_migrate, bandwidth=RAISED_BANDWIDTH),
    'precopy': precopy,
}
INTERNAL = ('savevm', 'snapshot-save')
LIBVIRT = {'libvirt': False, 'libvirt --live': True}
