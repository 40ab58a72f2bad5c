# SPDX-License-Identifier: LGPL-2.1-or-later
"""What examples/demo runs: a guest that works, an instant snapshot of it, and the way back."""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'tests', 'qemu'))
import harness  # noqa: E402
import processes  # noqa: E402
from guest import GuestChannel  # noqa: E402

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
    status = qemu.assert_alive()
    timeline.say('the guest works: ' + describe(status))
    return snapshot, status


def go_back(snapshot, folder, before):
    """A new QEMU that maps the memory of the snapshot, beside the original."""
    timeline = Timeline()
    directory = os.path.join(folder, 'revert')
    guest = snapshot.restore(Qsnap.RestoreOptions(directory=Gio.File.new_for_path(directory)), None)
    timeline.say(f'THE GUEST RUNS AGAIN: by {guest.props.restore_method.value_nick}, process {guest.props.pid}; '
                 f'QEMU was up after {guest.props.start_us / 1000:.1f} ms, the guest {guest.props.load_us / 1000:.1f} ms later')
    channel = GuestChannel(os.path.join(directory, 'channel.sock'))
    try:
        status = channel.command('status')
        timeline.say(f'its first answer: {describe(status)}')
        check = channel.command('check')
        timeline.say(f'disk and memory are of one instant: {check["slots"]} disk blocks and {check["pages"]} pages checked')
        after = channel.command('status')
        if check['torn'] or check['badpages'] or after['ticks'] <= status['ticks'] or after['steps'] <= status['steps']:
            sys.exit('the guest that came back is not as it was')
        timeline.say(f'it goes on: {describe(after)}')
        print(f'the original had come to {describe(before)}')
    finally:
        guest.quit(None)


def main():
    with_folder = processes.temporary_folder()
    try:
        qemu = boot(sys.argv[1], with_folder)
    except harness.Skip as reason:
        sys.exit(str(reason))
    snapshot, status = capture(qemu, os.path.join(with_folder, 'snapshot'))
    print()
    snapshot.verify(None)
    print('verify: every checksum holds, the base of the disk is unchanged')
    for disk in snapshot.props.disks:
        print(f'the guest\'s disk is now {os.path.basename(disk.props.overlay)}; '
              f'{os.path.basename(disk.props.base)} belongs to the snapshot: do not boot it')
    print()
    go_back(snapshot, with_folder, status)


main()
