#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs an example: run-example.py NAME PROGRAM [ARGUMENT...]. It gets a mock QEMU. Prints TAP."""

import os
import shutil
import subprocess
import sys
import tempfile

from mockqemu import TIMEOUT, Mock

IN_ORDER = ['point in time reached', 'memory complete']


def run(program, mock, *arguments):
    done = subprocess.run([*program, *arguments], env=mock.environment, capture_output=True, text=True, timeout=TIMEOUT,
                          check=False)
    print(''.join(f'# {line}\n' for line in (done.stdout + done.stderr).splitlines()), end='')
    return done


def captures(program, mock, folder):
    """And says what is wrong with the folder the second time."""
    directory = os.path.join(folder, 'snapshot')
    done = run(program, mock, mock.address, directory)
    told = [line.split(':')[0] for line in done.stdout.splitlines()]
    assert done.returncode == 0 and [line for line in told if line in IN_ORDER] == IN_ORDER, done
    assert os.path.exists(os.path.join(directory, 'snapshot.json'))
    done = run(program, mock, mock.address, directory)
    assert done.returncode == 1 and 'there is a snapshot' in done.stderr, done
    assert run(program, mock).returncode != 0


def upgrade_that_works(program, mock, folder):
    directory = os.path.join(folder, 'snapshot')
    done = run(program, mock, mock.address, directory, 'true')
    assert done.returncode == 0 and 'the snapshot is deleted' in done.stdout, done
    assert not os.path.exists(directory)


def upgrade_that_fails(program, mock, folder):
    done = run(program, mock, mock.address, os.path.join(folder, 'snapshot'), 'false')
    assert done.returncode == 1 and 'the guest is as it was' in done.stdout, done
    original, guest = [pid for pid, kind in mock.report('start') if kind == 'guest']
    assert original == mock.process.pid and mock.process.wait(TIMEOUT) == 0
    assert f'process {guest},' in done.stdout
    mock.end(guest)


def keeps_the_last(program, mock, folder):
    """The mock cannot copy disks, and has none here."""
    snapshots = os.path.join(folder, 'snapshots')
    os.mkdir(snapshots)
    service = subprocess.Popen([*program, mock.address, snapshots, '1', '2'], env=mock.environment, text=True,
                               stdout=subprocess.PIPE)
    try:
        lines = []
        while sum(line.startswith('deleted') for line in lines) < 2:
            lines.append(next(service.stdout).rstrip())
    finally:
        service.terminate()
        service.communicate()
    captured, deleted = ([line.split()[1].rstrip(',') for line in lines if line.startswith(word)]
                         for word in ('captured', 'deleted'))
    assert len(captured) == 4 and deleted == captured[:2] and sorted(os.listdir(snapshots)) == captured[2:], lines


CASES = {
    'capture': [captures],
    'before-upgrade': [upgrade_that_works, upgrade_that_fails],
    'keep-last': [keeps_the_last],
}
NEEDS_QEMU_IMG = (upgrade_that_fails,)


def run_case(case, program):
    """What is wrong."""
    folder = tempfile.mkdtemp(prefix='qsnap-example-')
    try:
        mock = Mock(folder, disk=case is not keeps_the_last)
        try:
            case(program, mock, folder)
            problems = []
        except (AssertionError, StopIteration, subprocess.TimeoutExpired) as error:
            problems = [repr(error)]
        return problems + mock.stop()
    finally:
        shutil.rmtree(folder)


def main():
    name, *program = sys.argv[1:]
    failed = False
    print(f'1..{len(CASES[name])}')
    for number, case in enumerate(CASES[name], 1):
        if case in NEEDS_QEMU_IMG and not shutil.which('qemu-img'):
            print(f'ok {number} {case.__name__} # SKIP qemu-img is not there')
            continue
        problems = run_case(case, program)
        print(''.join(f'# {problem}\n' for problem in problems) + f'{"not ok" if problems else "ok"} {number} {case.__name__}')
        failed = failed or bool(problems)
    sys.exit(failed)


main()
