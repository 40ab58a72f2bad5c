# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that import the library, on real guests."""

import json
import os
import subprocess

import harness
import qsnapcmd
from captures import assert_is_sealed
from guest import GuestChannel
from runner import test
from test_capture import boot_with_slow_save

EXAMPLES = os.path.join(os.path.dirname(harness.TESTS), 'examples')
PROGRESS_BAR = os.path.join(EXAMPLES, 'progress-bar.py')
BEFORE_UPGRADE = os.path.join(EXAMPLES, 'before-upgrade.py')
SLEEPER = os.path.join(harness.HERE, 'blocked_application.py')
PYTHON = '/usr/bin/python3'


def start_python(*arguments):
    """What became of it."""
    done = subprocess.run([PYTHON, *arguments], capture_output=True, text=True, timeout=60, check=False)
    if 'Namespace Qsnap not available' in done.stderr:
        raise harness.Skip('no typelib in reach: run it through tests/run or meson devenv')
    return done


def run_python(*arguments):
    done = start_python(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@test(small_version='10.0')
def python_example(run):
    qemu = run.boot(run.disks(2))
    qemu.work_hard(fill_mib=64)
    directory = run.file('snapshot')
    lines = run_python(PROGRESS_BAR, f'unix:{qemu.qmp_path}', directory).splitlines()
    told = [line.split(':')[0] for line in lines if not line.startswith('[')]
    assert [line for line in told if line] == ['point in time reached', 'memory complete', 'drive0', 'drive1'], lines
    assert_is_sealed(directory)
    qemu.assert_alive()


@test(versions=('7.2',))
def python_example_of_an_upgrade_that_fails(run):
    """The guest that was upgraded is gone, and the one of before is there."""
    qemu = run.boot()
    qemu.work_hard(fill_mib=64)
    directory = run.file('snapshot')
    done = start_python(BEFORE_UPGRADE, qemu.qmp_path, directory, 'false')
    assert done.returncode == 1 and 'the guest is as it was' in done.stdout, done
    qemu.wait_exit()
    checked = GuestChannel(os.path.join(f'{directory}.guest', 'channel.sock')).command('check')
    assert checked['torn'] == 0 and checked['badpages'] == 0, checked
    qsnapcmd.quit_qemu(done.stdout.split()[-1])


@test(small_version='10.0')
def python_example_says_what_is_wrong(run):
    qemu = run.boot()
    os.mkdir(run.file('full'))
    open(run.file('full/file'), 'w', encoding='utf-8').close()
    done = start_python(PROGRESS_BAR, qemu.qmp_path, run.file('full'))
    assert done.returncode == 1 and 'not empty' in done.stderr, done
    qemu.assert_alive()


@test(timeout=90, small_version='7.2')
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
