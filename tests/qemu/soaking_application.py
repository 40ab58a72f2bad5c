# SPDX-License-Identifier: LGPL-2.1-or-later
"""An application that lives long: soaking_application.py ADDRESS

Each line on its standard input is a request, as JSON, that it answers with a line:

    {"do": "capture", "directory": …}   with "timeout-ms", "cancel-after" (seconds), "sync" (interpose.c)
    {"do": "recover", "directory": …}
    {"do": "delete", "directory": …}
    {"do": "tidy"}                      how many bytes of the heap are in use, once what can be given back is

SIGINT cancels what is under way."""

import ctypes
import gc
import json
import os
import signal
import sys
import threading

import gi

gi.require_version('Qsnap', '1.0')
from gi.repository import Gio, GLib, Qsnap  # noqa: E402


class HeapInfo(ctypes.Structure):
    """struct mallinfo2"""
    _fields_ = [(name, ctypes.c_size_t) for name in ('arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks',
                                                     'uordblks', 'fordblks', 'keepcost')]


libc = ctypes.CDLL(None)
libc.mallinfo2.restype = HeapInfo


class Application:
    def __init__(self, address):
        self._address = address
        self._loop = GLib.MainLoop()
        self._cancellable = None
        self._signals = []
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGINT, self._interrupted)

    def _interrupted(self):
        if self._cancellable:
            self._cancellable.cancel()
        return GLib.SOURCE_CONTINUE

    def _wait(self, begin, *arguments):
        """The result of an asynchronous call."""
        results = []

        def done(_source, result):
            results.append(result)
            self._loop.quit()

        begin(*arguments, self._cancellable, done)
        self._loop.run()
        return results[0]

    def _open(self):
        """A session for each request: those of others have to get at the monitor in between."""
        session = Qsnap.Session.new(self._address)
        session.connect('point-in-time-reached', lambda *_: self._signals.append('point-in-time-reached'))
        session.connect('memory-complete', lambda *_: self._signals.append('memory-complete'))
        session.open(None)
        return session

    def capture(self, session, directory, request):
        if 'timeout-ms' in request:
            session.props.timeout = request['timeout-ms']
        if 'sync' in request:
            os.environ['QSNAP_TEST_SYNC'] = request['sync']
        timer = threading.Timer(request.get('cancel-after', 0), self._cancellable.cancel)
        if 'cancel-after' in request:
            timer.start()
        try:
            options = Qsnap.SnapshotOptions(directory=directory)
            snapshot = session.instant_snapshot_finish(self._wait(session.instant_snapshot_async, options))
        finally:
            timer.cancel()
            os.environ.pop('QSNAP_TEST_SYNC', None)
        assert self._signals == ['point-in-time-reached', 'memory-complete'], self._signals
        assert snapshot.props.sealed
        return {'sealed': True}

    def recover(self, session, directory, _request):
        snapshot = session.recover_finish(self._wait(session.recover_async, directory))
        return {'sealed': snapshot is not None}

    def delete(self, session, directory, _request):
        snapshot = Qsnap.Snapshot.load(directory, None)
        session.delete_snapshot_finish(self._wait(session.delete_snapshot_async, snapshot))
        return {'deleted': True}

    def _forget_late_signals(self):
        self._cancellable = None
        while GLib.MainContext.default().iteration(False):
            pass

    def answer(self, request):
        self._forget_late_signals()
        if request['do'] == 'tidy':
            gc.collect()
            libc.malloc_trim(0)
            heap = libc.mallinfo2()
            return {'heap': heap.uordblks + heap.hblkhd}
        self._signals.clear()
        self._cancellable = Gio.Cancellable()
        session = None
        try:
            session = self._open()
            return getattr(self, request['do'])(session, Gio.File.new_for_path(request['directory']), request)
        except GLib.Error as error:
            return {'error': error.message}
        finally:
            if session:
                session.close()
            self._cancellable = None


def main():
    application = Application(sys.argv[1])
    print(json.dumps({'ready': True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(application.answer(json.loads(line))), flush=True)


main()
