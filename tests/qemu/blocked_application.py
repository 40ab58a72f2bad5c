# SPDX-License-Identifier: LGPL-2.1-or-later
"""An application that goes to sleep the moment it has asked for a snapshot: blocked_application.py ADDRESS DIRECTORY SECONDS

Prints, as JSON, when by the host's clock it slept, and the pause."""

import json
import sys
import time

import gi

gi.require_version('Qsnap', '1.0')
from gi.repository import Gio, GLib, Qsnap  # noqa: E402


def main():
    address, directory, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    loop = GLib.MainLoop()
    signals = []
    session = Qsnap.Session.new(address)
    session.connect('point-in-time-reached', lambda *_: signals.append('point-in-time-reached'))
    session.connect('memory-complete', lambda *_: signals.append('memory-complete'))
    session.open(None)
    outcome = []

    def done(source, result):
        signals.append('finish')
        try:
            outcome.append(source.instant_snapshot_finish(result))
        except GLib.Error as error:
            outcome.append(error)
        loop.quit()

    session.instant_snapshot_async(Qsnap.SnapshotOptions(directory=Gio.File.new_for_path(directory)), None, done)
    asleep = time.time()
    time.sleep(seconds)
    awake = time.time()
    assert not signals, 'a signal came without a main loop'
    loop.run()
    if isinstance(outcome[0], GLib.Error):
        sys.exit(outcome[0].message)
    print(json.dumps({'asleep': asleep, 'awake': awake, 'signals': signals, 'pause-us': outcome[0].props.pause_us,
                      'time': outcome[0].props.time.to_unix() + outcome[0].props.time.get_microsecond() / 1e6}))


main()
