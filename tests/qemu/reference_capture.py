# SPDX-License-Identifier: LGPL-2.1-or-later
"""An instant snapshot by hand, in as little QMP as can be: proves that the harness sees sound captures as sound and torn
ones as torn, without libqsnap. Not fast, and not safe when something fails.

    /usr/bin/python3 tests/qemu/reference_capture.py 7.2 [COUNT]
"""

import dataclasses
import os
import sys
import threading
import time

import harness
import processes


@dataclasses.dataclass
class Capture:
    stream: str
    bases: list
    pause: float    # seconds; 0 if the guest was not stopped


class StreamFile:
    """A pipe whose other end a thread writes into a file."""

    def __init__(self, path):
        self.path = path
        read_end, self.write_end = os.pipe()
        self._thread = threading.Thread(target=self._save, args=(read_end,), daemon=True)
        self._thread.start()

    def _save(self, read_end):
        with open(read_end, 'rb', buffering=0) as source, open(self.path, 'wb', buffering=0) as target:
            while data := source.read(1 << 20):
                target.write(data)

    def finish(self):
        self._thread.join(60)
        assert not self._thread.is_alive(), 'the stream does not end'


def snapshot_disks(qemu, folder):
    """Puts an overlay over each disk, all in one transaction; returns the files that are bases from now on."""
    bases = qemu.disk_files()
    unique = time.monotonic_ns()
    actions = [{'type': 'blockdev-snapshot-sync',
                'data': {'node-name': node, 'snapshot-node-name': f'overlay-{unique}-{index}',
                         'snapshot-file': os.path.join(folder, f'overlay-{unique}-{index}.qcow2'), 'format': 'qcow2'}}
               for index, node in enumerate(qemu.disk_nodes())]
    qemu.qmp('transaction', actions=actions)
    return bases


def set_capabilities(qemu, state):
    qemu.qmp('migrate-set-capabilities', capabilities=[{'capability': name, 'state': state}
                                                       for name in ('background-snapshot', 'events')])


def start_saving_memory(qemu, path):
    stream = StreamFile(path)
    set_capabilities(qemu, True)
    qemu.qmp('getfd', fdname='stream', fds=[stream.write_end])
    os.close(stream.write_end)
    qemu.qmp('migrate', uri='fd:stream')
    return stream


def wait_point_in_time(qemu, mark):
    """7.2 resumes by itself, and that is it; 10 sends pages only afterwards (facts 1.3)."""
    if qemu.version == '7.2':
        qemu.monitor.wait_event('RESUME', since=mark)
        return

    def pages_flow():
        ram = qemu.migration().get('ram', {})
        return ram.get('normal', 0) + ram.get('duplicate', 0) > 0
    harness.wait_until(pages_flow, 60, 'the first page', interval=0.002)


def wait_memory_saved(qemu, mark, stream):
    qemu.monitor.wait_event('MIGRATION', since=mark, status='completed', timeout=120)
    stream.finish()
    set_capabilities(qemu, False)


def capture(qemu, folder):
    """As it should be: stop, disks, memory, go on."""
    path = os.path.join(folder, f'stream-{time.monotonic_ns()}')
    start = time.monotonic()
    qemu.qmp('stop')
    bases = snapshot_disks(qemu, folder)
    mark = qemu.monitor.mark()
    stream = start_saving_memory(qemu, path)
    wait_point_in_time(qemu, mark)
    if qemu.status() == 'paused':
        qemu.qmp('cont')
    pause = time.monotonic() - start
    wait_memory_saved(qemu, mark, stream)
    return Capture(path, bases, pause)


def capture_torn(qemu, folder, steps, disks_first=True):
    """Torn on purpose, by so many steps of each disk between disks and memory."""
    path = os.path.join(folder, f'stream-{time.monotonic_ns()}')
    mark = qemu.monitor.mark()
    if disks_first:
        bases = snapshot_disks(qemu, folder)
        let_disks_step(qemu, steps)
        stream = start_saving_memory(qemu, path)
    else:
        stream = start_saving_memory(qemu, path)
        wait_point_in_time(qemu, mark)
        let_disks_step(qemu, steps)
        bases = snapshot_disks(qemu, folder)
    wait_memory_saved(qemu, mark, stream)
    return Capture(path, bases, 0)


def let_disks_step(qemu, steps):
    """The worker keeps its disks stopped in between, so that the tear is exactly this wide."""
    qemu.guest(f'step {steps}')


def main():
    version = sys.argv[1]
    folder = processes.temporary_folder()
    disks = [harness.Disk(harness.create_disk(f'{folder}/disk{index}.raw')) for index in range(2)]
    hardware = harness.Hardware(version, disks)

    start = time.monotonic()
    qemu = harness.boot(hardware)
    print(f'QEMU {version}: ready after {time.monotonic() - start:.1f} s')
    qemu.work_hard()
    for number in range(int(sys.argv[2]) if len(sys.argv) > 2 else 3):
        done = capture(qemu, folder)
        qemu.assert_alive()
        start = time.monotonic()
        reverted = harness.load_stream(hardware, done.stream, done.bases)
        loaded = time.monotonic() - start
        print(f'capture {number}: pause {done.pause * 1000:.1f} ms, {os.path.getsize(done.stream) >> 20} MiB, '
              f'loaded in {loaded:.1f} s, {reverted.assert_consistent()}')
        reverted.assert_alive()
        reverted.kill()


if __name__ == '__main__':
    main()
