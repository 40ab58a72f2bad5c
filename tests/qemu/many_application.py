# SPDX-License-Identifier: LGPL-2.1-or-later
"""One application with many guests: many_application.py ADDRESS DIRECTORY [ADDRESS DIRECTORY …]

Captures all of them at once, asynchronously. Prints, as JSON, what became of each, and how many descriptors and threads the
application had at most."""

import json
import os
import sys

import gi

gi.require_version('Qsnap', '1.0')
from gi.repository import Gio, GLib, Qsnap  # noqa: E402


most = {'fd': 0, 'task': 0}


class Guest:
    def __init__(self, address, directory):
        self.directory = directory
        self.signals = []
        self.outcome = None
        self.session = Qsnap.Session.new(address)
        self.session.connect('point-in-time-reached', self._reached)
        self.session.connect('memory-complete', lambda *_: self.signals.append('memory-complete'))
        self.session.open(None)

    def _reached(self, _session, _snapshot):
        self.signals.append('point-in-time-reached')
        for what in most:
            most[what] = max(most[what], len(os.listdir(f'/proc/self/{what}')))

    def begin(self, done):
        def finish(session, result):
            self.signals.append('finish')
            try:
                snapshot = session.instant_snapshot_finish(result)
                self.outcome = {'sealed': snapshot.props.sealed, 'pause-us': snapshot.props.pause_us}
            except GLib.Error as error:
                self.outcome = {'error': error.message}
            self.outcome['signals'] = self.signals
            done()
        options = Qsnap.SnapshotOptions(directory=Gio.File.new_for_path(self.directory))
        self.session.instant_snapshot_async(options, None, finish)


def main(words):
    loop = GLib.MainLoop()
    guests = [Guest(*pair) for pair in zip(words[::2], words[1::2], strict=True)]

    def done():
        if all(guest.outcome for guest in guests):
            loop.quit()
    for guest in guests:
        guest.begin(done)
    loop.run()
    print(json.dumps({'guests': [guest.outcome for guest in guests], 'most': most}))


main(sys.argv[1:])
