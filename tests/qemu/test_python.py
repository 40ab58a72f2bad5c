# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that import the library, on real guests."""

import json
import os
import subprocess

import harness
from captures import assert_is_sealed
from runner import test
from test_capture import boot_with_slow_save

EXAMPLE = os.path.join(os.path.dirname(harness.TESTS), 'examples', 'instant-snapshot.py')
SLEEPER = os.path.join(harness.HERE, 'blocked_application.py')
PYTHON = '/usr/bin/python3'


def run_python(*arguments):
    done = subprocess.run([PYTHON, *arguments], capture_output=True, text=True, timeout=60, check=False)
    if 'Namespace Qsnap not available' in done.stderr:
        raise harness.Skip('no typelib in reach: run it through tests/run or meson devenv')
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_example(run, *mode):
    qemu = run.boot(run.disks(2))
    qemu.work_hard(fill_mib=64)
    directory = run.file('snapshot')
    lines = run_python(EXAMPLE, f'unix:{qemu.qmp_path}', directory, *mode).splitlines()
    assert [line.split(':')[0] for line in lines[:2]] == ['point in time reached', 'memory complete'], lines
    assert len(lines) == 4 and all('the guest\'s disk is now' in line for line in lines[2:]), lines
    assert_is_sealed(directory)
    qemu.assert_alive()


@test()
def python_example(run):
    run_example(run)


@test()
def python_example_with_a_main_loop(run):
    run_example(run, '--async')


@test()
def python_example_says_what_is_wrong(run):
    qemu = run.boot()
    os.mkdir(run.file('full'))
    open(run.file('full/file'), 'w', encoding='utf-8').close()
    done = subprocess.run([PYTHON, EXAMPLE, qemu.qmp_path, run.file('full')], capture_output=True, text=True, timeout=60,
                          check=False)
    if 'Namespace Qsnap not available' in done.stderr:
        raise harness.Skip('no typelib in reach: run it through tests/run or meson devenv')
    assert done.returncode == 1 and 'not empty' in done.stderr, done
    qemu.assert_alive()


@test(timeout=90)
def blocked_application_does_not_lengthen_the_pause(run):
    """It sleeps for four seconds in its main thread: the guest is stopped and runs again meanwhile."""
    qemu = boot_with_slow_save(run)
    mark = qemu.monitor.mark()
    told = json.loads(run_python(SLEEPER, qemu.qmp_path, run.file('snapshot'), '4'))
    stop, resume = (qemu.monitor.wait_event(name, mark).time for name in ('STOP', 'RESUME'))
    assert told['asleep'] < stop < resume < told['awake'], (told, stop, resume)
    assert told['signals'] == ['point-in-time-reached', 'memory-complete', 'finish'], told
    print(f'pause {told["pause-us"]} us with the main loop asleep')
    qemu.assert_alive()
