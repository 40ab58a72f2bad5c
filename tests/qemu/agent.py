# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest agent without a guest: what qemu-ga would say, on a unix socket that listens as QEMU's chardev does."""

import contextlib
import json
import socket
import threading

FILE_SYSTEMS = 2
DELIMITER = b'\xff'
ALLOWED_WHILE_FROZEN = ('guest-sync-delimited', 'guest-sync', 'guest-info', 'guest-fsfreeze-status', 'guest-fsfreeze-thaw')


class FakeAgent:
    """One client at a time. The switches can be set at any time: silent does what it is told and answers nothing; freeze_error
    is the text of an error that guest-fsfreeze-freeze gives; close_after_freeze freezes, and ends the connection instead of
    the answer."""

    def __init__(self, path):
        self.silent = False
        self.freeze_error = None
        self.close_after_freeze = False
        self.frozen = False
        self.commands = []    # the names, in the order in which they came
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def count(self, command):
        return self.commands.count(command)

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                with client, contextlib.suppress(ConnectionError), client.makefile('rb') as lines:
                    self._serve_client(client, lines)

    def _serve_client(self, client, lines):
        for line in lines:
            was_frozen = self.frozen
            answer = self._answer(line)
            if self.close_after_freeze and self.frozen and not was_frozen:
                return
            if not self.silent:
                client.sendall(answer)

    def _answer(self, line):
        """What is in front of a delimiter was never finished."""
        try:
            message = json.loads(line.rpartition(DELIMITER)[2])
            name, arguments = message['execute'], message.get('arguments', {})
        except (ValueError, LookupError, TypeError):
            return _error('GenericError', 'JSON parse error')
        self.commands.append(name)
        if self.frozen and name not in ALLOWED_WHILE_FROZEN:
            return _error('GenericError', f'Command {name} has been disabled: the agent is in frozen state')
        if name.startswith('guest-fsfreeze-'):
            return self._do_freeze(name)
        return _answer_other(name, arguments)

    def _do_freeze(self, name):
        was_frozen = self.frozen
        if name == 'guest-fsfreeze-status':
            return _result('frozen' if was_frozen else 'thawed')
        if name == 'guest-fsfreeze-thaw':
            self.frozen = False
            return _result(FILE_SYSTEMS if was_frozen else 0)
        if name != 'guest-fsfreeze-freeze':
            return _unknown(name)
        if self.freeze_error:
            return _error('GenericError', self.freeze_error)
        self.frozen = True
        return _result(FILE_SYSTEMS)


def _answer_other(name, arguments):
    if name == 'guest-sync-delimited':
        return DELIMITER + _result(arguments.get('id'))
    if name == 'guest-sync':
        return _result(arguments.get('id'))
    if name == 'guest-info':
        return _result({'version': '7.2.0', 'supported_commands': []})
    return _unknown(name)


def _result(value):
    return json.dumps({'return': value}).encode() + b'\n'


def _error(error_class, description):
    return json.dumps({'error': {'class': error_class, 'desc': description}}).encode() + b'\n'


def _unknown(name):
    return _error('CommandNotFound', f'The command {name} has not been found')
