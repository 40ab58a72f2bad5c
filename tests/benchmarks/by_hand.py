# SPDX-License-Identifier: LGPL-2.1-or-later
"""An instant snapshot by hand: the least QMP that takes disks and memory of one moment. What it lacks: undo, a way out when
something fails, a proof that the moment is one, and whatever makes a pause short."""

import os
import subprocess
import time

import processes
from running import wait_until

CAPABILITIES = ('background-snapshot', 'events')


class StreamFile:
    """A file, behind a pipe that a process reads to its end: QEMU 7.2 hangs its guest where nobody does."""

    def __init__(self, path):
        self.path = path
        read_end, self.write_end = os.pipe()
        with open(path, 'wb') as file:
            self._process = processes.start(['cat'], stdin=read_end, stdout=file)
        os.close(read_end)

    def hand_over(self, qemu):
        qemu.qmp('getfd', fdname='stream', fds=[self.write_end])
        os.close(self.write_end)

    def finish(self):
        self._process.wait(60)
        processes.kill(self._process)
        subprocess.run(['sync', self.path], check=True, timeout=300)
        os.unlink(self.path)


def set_capabilities(qemu, names, state):
    qemu.qmp('migrate-set-capabilities', capabilities=[{'capability': name, 'state': state} for name in names])


def snapshot_disks(qemu, folder):
    for node in qemu.disk_nodes():
        name = f'overlay-{time.monotonic_ns()}'
        qemu.qmp('blockdev-snapshot-sync', node_name=node, snapshot_node_name=name,
                 snapshot_file=f'{folder}/{name}.qcow2', format='qcow2')


def wait_point_in_time(qemu, mark):
    """QEMU 7.2 resumes the guest itself, and that is it. 10 sends the first page then, and leaves the guest as it found it."""
    if qemu.version == '7.2':
        qemu.monitor.wait_event('RESUME', since=mark)
        return

    def pages_flow():
        ram = qemu.migration().get('ram', {})
        return ram.get('normal', 0) + ram.get('duplicate', 0) > 0
    wait_until(pages_flow, 60, 'the first page', interval=0.0005)


def capture(qemu, folder):
    stream = StreamFile(f'{folder}/stream')
    set_capabilities(qemu, CAPABILITIES, True)
    mark = qemu.monitor.mark()

    qemu.qmp('stop')
    snapshot_disks(qemu, folder)
    stream.hand_over(qemu)
    qemu.qmp('migrate', uri='fd:stream')
    wait_point_in_time(qemu, mark)
    if qemu.status() == 'paused':
        qemu.qmp('cont')

    qemu.monitor.wait_event('MIGRATION', since=mark, status='completed', timeout=300)
    stream.finish()
    set_capabilities(qemu, CAPABILITIES, False)
