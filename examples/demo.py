# SPDX-License-Identifier: LGPL-2.1-or-later
"""What examples/demo runs: a guest that works, an instant snapshot of it, and the way back on a stock QEMU."""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tests', 'qemu'))
import harness  # noqa: E402
import processes  # noqa: E402

import gi  # noqa: E402

gi.require_version('Qsnap', '1.0')
from gi.repository import Gio, GLib, Qsnap  # noqa: E402


class Timeline:
    """Prints what happens with the milliseconds since the call."""

    def __init__(self):
        self.start = time.monotonic()

    def say(self, text):
        print(f'{(time.monotonic() - self.start) * 1000:9.1f} ms  {text}', flush=True)


def boot(version, folder):
    disk = harness.create_disk(os.path.join(folder, 'disk.qcow2'), 'qcow2')
    hardware = harness.Hardware(version, [harness.Disk(disk, 'qcow2')])
    start = time.monotonic()
    qemu = harness.Qemu(hardware).wait_ready()
    print(f'QEMU {version}: a guest with 512 MiB of RAM and a disk, up after {time.monotonic() - start:.1f} s')
    qemu.work_hard(fill_mib=200, dirty='50')
    print('it counts in RAM and on its disk in lockstep, and rewrites 200 MiB of checksummed memory\n')
    return qemu


def describe(status):
    return f'{status["ticks"]} ticks, disk step {status["steps"][0]}, torn {status["torn"]}, bad pages {status["badpages"]}'


def capture(qemu, directory):
    timeline = Timeline()
    session = Qsnap.Session.new(f'unix:{qemu.qmp_path}')
    session.connect('notify::phase', lambda s, _: timeline.say(s.props.phase.value_nick))
    session.connect('point-in-time-reached', lambda _, s: timeline.say(
        f'POINT IN TIME reached: the guest was stopped for {s.props.pause_us / 1000:.1f} ms '
        f'(stop {s.props.stop_us / 1000:.1f}, disks {s.props.disks_us / 1000:.1f}, '
        f'memory {s.props.memory_us / 1000:.1f}, resume {s.props.resume_us / 1000:.1f})'))
    session.connect('memory-complete', lambda _, s: timeline.say(
        f'MEMORY COMPLETE: {s.props.data_size >> 20} of {s.props.memory_size >> 20} MiB are not zero'))
    session.open(None)
    timeline.say('the guest works: ' + describe(qemu.guest('status')))
    snapshot = session.instant_snapshot(Qsnap.SnapshotOptions(directory=Gio.File.new_for_path(directory)), None)
    timeline.say('the guest works: ' + describe(qemu.assert_alive()))
    return snapshot


def go_back(qemu, snapshot, folder):
    """With nothing but a stock QEMU: the memory as a plain migration stream, fresh overlays over the bases."""
    stream = os.path.join(folder, 'stream')
    with open(stream, 'wb') as file:
        snapshot.export_stream(file.fileno(), None)
    bases = [disk.props.base for disk in snapshot.props.disks]
    back = harness.load_stream(qemu.hardware, stream, bases)
    check = back.assert_consistent()
    print(f'a stock QEMU loaded the snapshot and went on: {describe(back.assert_alive())}')
    print(f'disk and memory are of one instant: {check["slots"]} disk blocks and {check["pages"]} pages checked')


def main():
    with_folder = processes.temporary_folder()
    try:
        qemu = boot(sys.argv[1], with_folder)
    except harness.Skip as reason:
        sys.exit(str(reason))
    snapshot = capture(qemu, os.path.join(with_folder, 'snapshot'))
    print()
    snapshot.verify(None)
    print('verify: every checksum holds, the base of the disk is unchanged')
    for disk in snapshot.props.disks:
        print(f'the guest\'s disk is now {os.path.basename(disk.props.overlay)}; '
              f'{os.path.basename(disk.props.base)} belongs to the snapshot: do not boot it')
    print()
    go_back(qemu, snapshot, with_folder)


main()
