# SPDX-License-Identifier: LGPL-2.1-or-later
"""The library in each language, on real guests: a capture with both signals, a revert to it, and its end."""

import os
import shutil
import subprocess

import harness
import processes
import qsnapcmd
from captures import assert_is_sealed
from runner import test

SOURCES = os.path.join(harness.TESTS, 'bindings')


def built(name):
    path = os.path.join(os.path.dirname(qsnapcmd.command()), '..', name)
    if not os.path.exists(path):
        raise harness.Skip(f'{name} is not built')
    return path


def capture_and_revert(run, *program):
    if not shutil.which(program[0]):
        raise harness.Skip(f'there is no {program[0]}')
    qemu = run.boot()
    qemu.work_hard(fill_mib=64)
    done = subprocess.run([*program, 'revert', f'unix:{qemu.qmp_path}', run.folder], capture_output=True, text=True,
                          timeout=60, check=False)
    if 'Namespace Qsnap not available' in done.stderr or 'Typelib file for namespace' in done.stderr:
        raise harness.Skip('no typelib in reach: run it through tests/run or meson devenv')
    assert done.returncode == 0, done.stderr
    assert_is_sealed(run.file('snapshot'))
    qemu.assert_alive()


@test(versions=('10.0',))
def capture_and_revert_in_c(run):
    capture_and_revert(run, built('tests/bindings/scenarios-c'))


@test(versions=('7.2',))
def capture_and_revert_in_python(run):
    capture_and_revert(run, '/usr/bin/python3', os.path.join(SOURCES, 'scenarios.py'))


@test(versions=('10.0',))
def capture_and_revert_in_gjs(run):
    capture_and_revert(run, 'gjs', '-m', os.path.join(SOURCES, 'scenarios.js'))


@test(versions=('7.2',))
def capture_and_revert_in_vala(run):
    capture_and_revert(run, built('tests/bindings/scenarios-vala'))


@test(versions=('10.0',))
def vala_example_keeps_the_last_snapshots(run):
    """Its disk is copied each time, so the oldest can go."""
    qemu = run.boot()
    folder = run.file('snapshots')
    os.mkdir(folder)
    service = processes.start([built('examples/keep-last'), qemu.qmp_path, folder, '1', '1'], text=True,
                              stdout=subprocess.PIPE)
    lines = []
    while not lines or not lines[-1].startswith('deleted'):
        lines.append(next(service.stdout).rstrip())
    processes.kill(service)
    assert [line.split()[0] for line in lines] == ['captured', 'captured', 'deleted'], lines
    name, = os.listdir(folder)
    assert_is_sealed(os.path.join(folder, name))
    qemu.assert_alive()
