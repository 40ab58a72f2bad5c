#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-modes-table.py QSNAP MODES-PAGE SOURCE: what the page says is contradictory is refused, with that reason, and nothing
of the guest is asked or changed; and the page has every reason that the source has."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import threading

GREETING = {'QMP': {'version': {'qemu': {'major': 10, 'minor': 0, 'micro': 0}, 'package': ''}, 'capabilities': []}}


class Peer:
    """A QEMU that negotiates, and notes what else it is asked."""

    def __init__(self, path):
        self.asked = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            client = self._listener.accept()[0]
            with client, client.makefile('rw') as stream:
                self._talk(stream)

    def _talk(self, stream):
        self._say(stream, GREETING)
        for line in stream:
            request = json.loads(line)
            answer = {'return': {}, 'id': request.get('id')}
            if request['execute'] != 'qmp_capabilities':
                self.asked.append(request['execute'])
                answer = {'error': {'class': 'GenericError', 'desc': 'nothing is to be asked'}, 'id': request.get('id')}
            self._say(stream, answer)

    @staticmethod
    def _say(stream, message):
        stream.write(json.dumps(message) + '\n')
        stream.flush()


def rows_of(page):
    with open(page, encoding='utf-8') as file:
        table = file.read().split('<!-- contradictions -->')[1].split('<!-- /contradictions -->')[0]
    lines = table.strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]


def reasons_in(source):
    """The strings at the end of the tables' rows, which may be in pieces."""
    with open(source, encoding='utf-8') as file:
        text = re.sub(r'"\s*\n\s*"', '', file.read())
    return set(re.findall(r'\{ *\w+,\s*"([^"]+)" *\}', text))


def problem_of(command, peer, folder, options, reason):
    peer.asked.clear()
    done = subprocess.run([command, 'snapshot', os.path.join(folder, 'qmp'), os.path.join(folder, 'snapshot'), *options],
                          capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 1 or reason not in done.stderr:
        return f'status {done.returncode}: {done.stderr.strip()}'
    if peer.asked:
        return f'asked {peer.asked}'
    return 'it has made the directory' if os.path.exists(os.path.join(folder, 'snapshot')) else None


def report(number, name, problem):
    print(f'{"not ok" if problem else "ok"} {number} - {name}' + (f'\n# {problem}' if problem else ''), flush=True)
    return bool(problem)


def main():
    command, page, source = sys.argv[1:]
    rows = rows_of(page)
    missing = reasons_in(source) - {reason for _, _, reason in rows}
    cases = [(options, reason) for _, options, reason in rows if options]
    print(f'1..{len(cases) + 1}')
    failed = report(1, 'every reason is in the table', missing or (None if len(cases) > 20 else 'the table is not there'))
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(os.path.join(folder, 'qmp'))
        for number, (options, reason) in enumerate(cases, 2):
            problem = problem_of(command, peer, folder, shlex.split(options.strip('`')), reason)
            failed |= report(number, options.strip('`').replace('#', ''), problem)
    sys.exit(failed)


main()
