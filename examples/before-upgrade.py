#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a command that changes the guest, and brings the guest back if the command fails:

    before-upgrade.py ADDRESS DIRECTORY COMMAND [ARGUMENT...]"""

import subprocess
import sys

import gi

gi.require_version('Qsnap', '1.0')
from gi.repository import Gio, GLib, Qsnap  # noqa: E402


def capture(session, directory):
    options = Qsnap.SnapshotOptions(directory=Gio.File.new_for_path(directory), name='before the upgrade')
    snapshot = session.instant_snapshot(options)
    print(f'captured; the guest was stopped for {snapshot.props.pause_us / 1000:.1f} ms', flush=True)
    return snapshot


def keep(session, snapshot):
    """What the guest wrote since is merged into its disks."""
    session.delete_snapshot(snapshot)
    print('the upgrade is kept, the snapshot is deleted')


def go_back(session, snapshot, directory):
    """A new QEMU in the place of the one that was upgraded."""
    session.quit()
    options = Qsnap.RestoreOptions(directory=Gio.File.new_for_path(f'{directory}.guest'))
    guest = snapshot.restore(options)
    for warning in guest.props.restore_warnings:
        print(f'warning: {warning}')
    guest.wait_settled()
    print(f'the guest is as it was: process {guest.props.pid}, monitor {guest.props.address}')


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    address, directory, *command = sys.argv[1:]
    session = Qsnap.Session.new(address)
    try:
        session.open()
        snapshot = capture(session, directory)
        if subprocess.run(command, check=False).returncode == 0:
            keep(session, snapshot)
        else:
            go_back(session, snapshot, directory)
            sys.exit(1)
    except GLib.Error as error:
        if error.matches(Qsnap.error_quark(), Qsnap.Error.BUSY):
            sys.exit(f'try again later: {error.message}')
        sys.exit(error.message)


main()
