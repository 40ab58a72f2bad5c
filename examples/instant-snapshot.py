#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Takes an instant snapshot of a running guest: instant-snapshot.py ADDRESS DIRECTORY [--async]

With --async the call returns at once and the signals come from a GLib.MainLoop; without, they come
from inside the call, at their time."""

import os
import sys

import gi

gi.require_version('Qsnap', '1.0')
from gi.repository import Gio, GLib, Qsnap  # noqa: E402


def on_point_in_time(_session, snapshot):
    print(f'point in time reached: {snapshot.props.time.format_iso8601()}, '
          f'the guest was stopped for {snapshot.props.pause_us / 1000:.1f} ms', flush=True)


def on_memory_complete(_session, snapshot):
    print(f'memory complete: {snapshot.props.data_size >> 20} MiB in {snapshot.props.directory.get_path()}', flush=True)


def capture_async(session, options):
    """The same with a main loop."""
    loop = GLib.MainLoop()
    outcome = []

    def done(source, result):
        try:
            outcome.append(source.instant_snapshot_finish(result))
        except GLib.Error as error:
            outcome.append(error)
        loop.quit()

    session.instant_snapshot_async(options, None, done)
    loop.run()
    if isinstance(outcome[0], GLib.Error):
        raise outcome[0]
    return outcome[0]


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != '--async']
    if len(arguments) != 2:
        sys.exit(f'usage: {os.path.basename(sys.argv[0])} ADDRESS DIRECTORY [--async]')
    address, directory = arguments

    session = Qsnap.Session.new(address)
    session.connect('point-in-time-reached', on_point_in_time)
    session.connect('memory-complete', on_memory_complete)
    file = Gio.File.new_for_path(directory)
    options = Qsnap.SnapshotOptions(directory=file, name='before-upgrade')
    try:
        session.open(None)
        if '--async' in sys.argv:
            snapshot = capture_async(session, options)
        else:
            snapshot = session.instant_snapshot(options, None)
        Qsnap.Snapshot.load(file, None).verify(None)
    except GLib.Error as error:
        if error.matches(Qsnap.error_quark(), Qsnap.Error.BUSY):
            sys.exit(f'try again later: {error.message}')
        sys.exit(error.message)

    for disk in snapshot.props.disks:
        print(f'{disk.props.device}: the guest\'s disk is now {disk.props.overlay}; do not boot {disk.props.base}')


main()
