# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a test says to the worker inside the guest, and what it hears (tests/guest/worker.c)."""

import random
import time

import qmp

NUMBERS = ('ndisks', 'torn', 'badpages', 'verified', 'dirtied', 'filled', 'ticks', 'maxgap', 'scratch', 'slots', 'pages')


class GuestError(Exception):
    """The worker refused a command."""


class GuestSilent(Exception):
    """The worker did not answer in time."""


class GuestChannel:
    """The command channel, ttyS1. Commands carry an id: a guest that was reverted in the middle of an answer goes on with
    the rest of that answer."""

    def __init__(self, path):
        self._socket = qmp.connect_unix(path)
        self._next_id = random.randrange(1 << 40)
        self._received = b''
        self._socket.sendall(b'\n')

    def command(self, text, timeout=60):
        """Runs one command; returns its answer's key=value words as a dict."""
        self._next_id += 1
        self.send(text, self._next_id)
        answer = self._wait_answer(f'{self._next_id} ', time.monotonic() + timeout, text)
        verdict, _, rest = answer.partition(' ')
        if verdict != 'ok':
            raise GuestError(f'{text}: {rest}')
        return parse_words(rest)

    def send(self, text, command_id=0):
        """For commands that have no answer: poweroff, reboot, panic."""
        self._socket.sendall(f'{command_id} {text}\n'.encode())

    def close(self):
        self._socket.close()

    def _wait_answer(self, prefix, deadline, text):
        while True:
            line = self._read_line(deadline, text)
            if line.startswith(prefix):
                return line[len(prefix):]

    def _read_line(self, deadline, text):
        while b'\n' not in self._received:
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self._socket.recv(4096)
            except TimeoutError:
                raise GuestSilent(f'no answer to "{text}"') from None
            if not data:
                raise GuestSilent(f'QEMU ended before the answer to "{text}"')
            self._received += data
        line, self._received = self._received.split(b'\n', 1)
        return line.decode(errors='replace').strip()


def parse_words(text):
    answer = dict(word.split('=', 1) for word in text.split())
    for key in NUMBERS:
        if key in answer:
            answer[key] = int(answer[key])
    if 'steps' in answer:
        answer['steps'] = [int(number) for number in answer['steps'].split(',') if number]
    return answer
