#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the scenarios in one language: run-scenarios.py [--only SCENARIO] PROGRAM [ARGUMENT...]

Each gets a mock QEMU and a folder of its own: PROGRAM SCENARIO ADDRESS FOLDER. Exit status 77 says that the language cannot
do it. Prints TAP."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
TIMEOUT = 240
SLOW_SAVE = 'page-delay:1000'   # of 256 pages and some more
# What happens, and what the mock is told.
SCENARIOS = {
    'connect': '',
    'check': '',
    'capture': '',
    'capture-async': '',
    'progress': SLOW_SAVE,
    'cancel': SLOW_SAVE,
    'errors': SLOW_SAVE + ',error:query-name',
    'revert': '',
    'throwing-handler': '',
    'dropped-session': SLOW_SAVE,
    'open-close': '',
    'values': '',
    'threads': '',
}


class Mock:
    """A running guest with 1 MiB of RAM and a disk."""

    def __init__(self, folder, fault):
        self.report_path = os.path.join(folder, 'report')
        self.socket = os.path.join(folder, 'qmp.sock')
        disk = os.path.join(folder, 'a.raw')
        with open(disk, 'wb') as file:
            file.truncate(1 << 20)
        command = [os.environ['QSNAP_MOCK_QEMU'], '-name', 'mock-guest', '-machine', 'q35,accel=tcg,memory-backend=pc.ram',
                   '-m', '1M', '-object', f'memory-backend-ram,id=pc.ram,size={1 << 20}',
                   '-drive', f'file={disk},format=raw,if=none,id=virtio0', '-device', 'virtio-blk-pci,drive=virtio0',
                   '-chardev', f'socket,id=qsnap-monitor,path={self.socket},server=on,wait=off', '-mon', 'chardev=qsnap-monitor,mode=control',
                   '-display', 'none']
        self.environment = dict(os.environ, QSNAP_MOCK_VERSION='10.0', QSNAP_MOCK_REPORT=self.report_path)
        with open(os.path.join(folder, 'log'), 'wb') as log:
            self.process = subprocess.Popen(command, env=dict(self.environment, QSNAP_MOCK_FAULT=fault), stdout=log, stderr=log)
        end = time.monotonic() + TIMEOUT
        while not os.path.exists(self.socket) and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)

    def report(self, key):
        """(process, value) of each line."""
        with open(self.report_path, encoding='utf-8') as file:
            lines = [line.rstrip('\n').split(' ', 2) for line in file]
        return [(int(line[0]), line[2]) for line in lines if line[1] == key]

    def stop(self):
        """What is wrong, if it is."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(TIMEOUT)
        ours = [pid for pid, kind in self.report('start') if kind == 'guest' and is_mock(pid)]
        for pid in ours:
            os.kill(pid, signal.SIGKILL)
        return [f'{pid} is left behind' for pid in ours] + [f'complaint: {text}' for _, text in self.report('complaint')]


def is_mock(pid):
    try:
        return os.readlink(f'/proc/{pid}/exe') == os.path.realpath(os.environ['QSNAP_MOCK_QEMU'])
    except OSError:
        return False


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
            status, told = run_program([*program, name, f'unix:{mock.socket}', folder], mock.environment)
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
