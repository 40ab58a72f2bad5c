#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Takes an instant snapshot and draws a bar meanwhile: progress-bar.py ADDRESS DIRECTORY

Everything happens in a main loop, and Ctrl-C cancels: the guest is then as it was."""

import signal
import sys

import gi

gi.require_version('Qsnap', '1.0')
from gi.repository import Gio, GLib, Qsnap  # noqa: E402

WIDTH = 50


def draw(session, _pspec):
    done, total = session.props.bytes_done, session.props.bytes_total
    if total:
        filled = WIDTH * done // total
        print(f'\r[{"#" * filled}{" " * (WIDTH - filled)}] {done >> 20} of {total >> 20} MiB', end='', flush=True)


def on_point_in_time(_session, snapshot):
    print(f'point in time reached: {snapshot.props.time.format_iso8601()}, '
          f'the guest was stopped for {snapshot.props.pause_us / 1000:.1f} ms', flush=True)


def on_memory_complete(_session, snapshot):
    print(f'\nmemory complete: {snapshot.props.directory.get_path()} is sealed', flush=True)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    loop = GLib.MainLoop()
    cancellable = Gio.Cancellable()
    errors = []

    def on_captured(session, result):
        try:
            snapshot = session.instant_snapshot_finish(result)
            for disk in snapshot.props.disks:
                print(f'{disk.props.device}: the guest\'s disk is now {disk.props.overlay}; do not boot {disk.props.base}')
        except GLib.Error as error:
            errors.append(error.message)
        loop.quit()

    session = Qsnap.Session.new(sys.argv[1])
    session.connect('notify::bytes-done', draw)
    session.connect('point-in-time-reached', on_point_in_time)
    session.connect('memory-complete', on_memory_complete)
    GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGINT, cancellable.cancel)
    try:
        session.open(cancellable)
    except GLib.Error as error:
        sys.exit(error.message)
    options = Qsnap.SnapshotOptions(directory=Gio.File.new_for_path(sys.argv[2]))
    session.instant_snapshot_async(options, cancellable, on_captured)
    loop.run()
    sys.exit(errors[0] if errors else 0)


main()
