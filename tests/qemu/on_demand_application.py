# SPDX-License-Identifier: LGPL-2.1-or-later
"""An application that brings a guest back on demand and stays: on_demand_application.py SNAPSHOT DIRECTORY

Says what happens, a JSON object a line, and does what a line on its standard input says: `capture DIRECTORY`, `drop` (lets go of the
session), `quit` (ends the guest, and itself)."""

import json
import sys

import gi

gi.require_version('Qsnap', '1.0')
from gi.repository import Gio, GLib, Qsnap  # noqa: E402


def say(event, **members):
    print(json.dumps({'event': event, **members}), flush=True)


def say_error(event, error):
    say(event, message=error.message, domain=error.domain, code=int(error.code))


class Application:
    def __init__(self):
        self.loop = GLib.MainLoop()
        self.session = None

    def bring_back(self, snapshot, directory):
        options = Qsnap.RestoreOptions(method=Qsnap.RestoreMethod.ON_DEMAND, directory=Gio.File.new_for_path(directory))
        try:
            self.session = Qsnap.Snapshot.load(Gio.File.new_for_path(snapshot), None).restore(options, None)
        except GLib.Error as error:
            say_error('not-brought-back', error)
            raise
        self.session.connect('settled', lambda session: say('settled', phase=session.props.phase.value_nick))
        self.session.connect('settle-failed', lambda _, error: say_error('settle-failed', error))
        self.session.connect('closed', lambda _, error: say_error('closed', error))
        self.session.connect('notify::phase', lambda session, _: say('phase', phase=session.props.phase.value_nick))
        say('running', pid=self.session.props.pid, phase=self.session.props.phase.value_nick,
            method=self.session.props.restore_method.value_nick)

    def capture(self, directory):
        try:
            options = Qsnap.SnapshotOptions(directory=Gio.File.new_for_path(directory))
            say('captured', directory=self.session.instant_snapshot(options, None).props.directory.get_path())
        except GLib.Error as error:
            say_error('refused', error)

    def obey(self, channel, _condition):
        words = channel.readline().split()
        if not words or words[0] == 'quit':
            if self.session:
                self.session.quit(None)
                say('ended')
            self.loop.quit()
        elif words[0] == 'capture':
            self.capture(words[1])
        elif words[0] == 'drop':
            self.session = None
            say('dropped')
        return True


def main():
    application = Application()
    application.bring_back(sys.argv[1], sys.argv[2])
    GLib.io_add_watch(GLib.IOChannel.unix_new(sys.stdin.fileno()), GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP,
                      application.obey)
    application.loop.run()


main()
