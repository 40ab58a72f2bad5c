# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small raw QMP client, independent of the one under test."""

import itertools
import json
import socket
import threading
import time

DEFAULT_TIMEOUT = 60


class QmpError(Exception):
    """QEMU answered with an error."""

    def __init__(self, error):
        super().__init__(f'{error["class"]}: {error["desc"]}')
        self.error_class = error['class']
        self.description = error['desc']


class QmpClosed(Exception):
    """The connection ended: QEMU is gone or has thrown us out."""


class Event:
    """One event, with our time of its arrival beside QEMU's own timestamp."""

    def __init__(self, message):
        self.name = message['event']
        self.data = message.get('data', {})
        stamp = message['timestamp']
        self.time = stamp['seconds'] + stamp['microseconds'] / 1e6
        self.arrived = time.time()

    def __repr__(self):
        return f'<{self.time:.6f} {self.name} {self.data}>'


class Qmp:
    """One connection. Replies and events are read by a thread; any thread may call."""

    def __init__(self, path, timeout=DEFAULT_TIMEOUT):
        self._socket = connect_unix(path, timeout)
        self._changed = threading.Condition()
        self._write_lock = threading.Lock()
        self._ids = itertools.count(1)
        self._replies = {}
        self._closed = False
        self.events = []
        self.greeting = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._wait(lambda: self.greeting, timeout, 'the greeting')
        self.execute('qmp_capabilities', timeout=timeout)

    def execute(self, command, arguments=None, fds=(), timeout=DEFAULT_TIMEOUT):
        """Runs a command and returns what it returned; descriptors travel with its bytes."""
        reply_id = f'harness-{next(self._ids)}'
        message = {'execute': command, 'id': reply_id}
        if arguments:
            message['arguments'] = arguments
        self._send(json.dumps(message).encode() + b'\n', fds)
        reply = self._wait(lambda: self._replies.pop(reply_id, None), timeout, f'the reply to {command}')
        if 'error' in reply:
            raise QmpError(reply['error'])
        return reply['return']

    def mark(self):
        """A place in the list of events; hand it to wait_event() as "since"."""
        with self._changed:
            return len(self.events)

    def wait_event(self, name, since=0, timeout=DEFAULT_TIMEOUT, **data):
        """The first event of that name since then whose data has these members."""
        def find():
            for event in self.events[since:]:
                if event.name == name and data.items() <= event.data.items():
                    return event
            return None
        return self._wait(find, timeout, f'event {name} {data or ""}')

    def names_since(self, mark):
        with self._changed:
            return [event.name for event in self.events[mark:]]

    def wait_closed(self, timeout=DEFAULT_TIMEOUT):
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed, timeout):
                raise TimeoutError('QMP connection still open')

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._reader.join(5)
        self._socket.close()

    def _send(self, data, fds):
        with self._write_lock:
            try:
                sent = socket.send_fds(self._socket, [data], fds) if fds else 0
                self._socket.sendall(data[sent:])
            except OSError as error:
                raise QmpClosed(str(error)) from error

    def _wait(self, find, timeout, what):
        with self._changed:
            deadline = time.monotonic() + timeout
            while True:
                found = find()
                if found is not None:
                    return found
                if self._closed:
                    raise QmpClosed(f'QMP ended while waiting for {what}')
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f'{timeout} s passed without {what}')
                self._changed.wait(left)

    def _read(self):
        try:
            with self._socket.makefile('rb') as lines:
                for line in lines:
                    self._take(json.loads(line))
        except (OSError, ValueError):
            pass
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take(self, message):
        with self._changed:
            if 'event' in message:
                self.events.append(Event(message))
            elif 'QMP' in message:
                self.greeting = message['QMP']
            elif 'id' in message:
                self._replies[message['id']] = message
            self._changed.notify_all()


def connect_unix(path, timeout=DEFAULT_TIMEOUT):
    """Waits until somebody listens there."""
    deadline = time.monotonic() + timeout
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
