#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the scenarios in one language: run-scenarios.py [--only SCENARIO] PROGRAM [ARGUMENT...]

Each gets a mock QEMU and a folder of its own: PROGRAM SCENARIO ADDRESS FOLDER. Exit status 77 says that the language cannot
do it. Prints TAP."""

import shutil
import subprocess
import sys
import tempfile

from mockqemu import TIMEOUT, Mock

SKIPPED = 77
NEEDS_QEMU_IMG = ('revert',)
SLOW_SAVE = 'page-delay:1000'   # of 256 pages and some more
# What happens, and what the mock is told.
SCENARIOS = {
    'connect': '',
    'check': '',
    'capture': '',
    'capture-async': '',
    'progress': SLOW_SAVE,
    'cancel': SLOW_SAVE,
    'group': '',
    'errors': SLOW_SAVE + ',error:query-name',
    'revert': '',
    'throwing-handler': '',
    'dropped-session': SLOW_SAVE,
    'open-close': '',
    'values': '',
    'threads': '',
}


def run_program(command, environment):
    """(exit status, what it printed)"""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               errors='replace', start_new_session=True)
    try:
        told = process.communicate(timeout=TIMEOUT)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        told = process.communicate()[0] + '\nit hangs'
    return process.returncode, told


def run_scenario(name, program):
    """(exit status, what to tell)"""
    folder = tempfile.mkdtemp(prefix='qsnap-bindings-')
    try:
        mock = Mock(folder, SCENARIOS[name])
        try:
            status, told = run_program([*program, name, mock.address, folder], mock.environment)
        finally:
            problems = mock.stop()
        return (1 if problems and status == 0 else status), told + '\n'.join(problems)
    finally:
        shutil.rmtree(folder)


def main():
    program, names = sys.argv[1:], list(SCENARIOS)
    if program[0] == '--only':
        names, program = [program[1]], program[2:]
    failed = False
    print(f'1..{len(names)}')
    for number, name in enumerate(names, 1):
        if name in NEEDS_QEMU_IMG and not shutil.which('qemu-img'):
            print(f'ok {number} {name} # SKIP qemu-img is not there')
            continue
        status, told = run_scenario(name, program)
        if status == SKIPPED:
            print(f'ok {number} {name} # SKIP {told.strip()}')
        else:
            for line in told.splitlines():
                print(f'# {line}')
            print(f'{"ok" if status == 0 else "not ok"} {number} {name}', flush=True)
            failed = failed or status != 0
    sys.exit(failed)


main()
