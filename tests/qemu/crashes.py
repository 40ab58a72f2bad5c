# SPDX-License-Identifier: LGPL-2.1-or-later
"""Captures that are killed at a step that was chosen, and what is found after them."""

import functools
import json
import os
import signal
import subprocess

import harness
import processes
import qsnapcmd
from running import wait_until


@functools.cache
def stopper():
    """The library that stops a qsnap at a step (stop_at.c)."""
    path = os.path.join(processes.temporary_folder(), 'stop_at.so')
    done = subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-o', path, os.path.join(harness.HERE, 'stop_at.c')],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise harness.Skip(f'no C compiler: {done.stderr.strip()}')
    return path


# Processes

def _stat(pid):
    """(name, state, parent)"""
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as file:
            name, rest = file.read().rsplit(')', 1)
    except (FileNotFoundError, ProcessLookupError):
        return None, None, None
    return name.split('(', 1)[1], rest.split()[0], int(rest.split()[1])


def saver_of(pid):
    """The saver that this process has started, or None."""
    for name in os.listdir('/proc'):
        if name.isdecimal() and _stat(name)[0] == 'qsnap-saver' and _stat(name)[2] == pid:
            return processes.Stranger(int(name))
    return None


def is_stopped(pid):
    return _stat(pid)[1] == 'T'


class DoomedSnapshot:
    """A capture by the qsnap command, in a process group of its own; with a point, it stops there:
    before:WHAT or after:WHAT, and :N for the Nth time, WHAT being a QMP command or a file of the snapshot."""

    def __init__(self, qemu, directory, point=None, options=()):
        self.directory = directory
        environment = {**os.environ, 'LD_PRELOAD': stopper(), 'QSNAP_STOP_AT': point} if point else None
        self.process = processes.start([qsnapcmd.command(), 'snapshot', qemu.qmp_path, directory, '--json', *options],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                                       start_new_session=True)
        self.saver = None
        if point:
            wait_until(lambda: self._has_stopped(point), 60, f'the capture to reach {point}', interval=0.01)
            self.find_saver()

    def wait_step(self, step):
        def is_there():
            if self.process.poll() is not None:
                raise RuntimeError(f'the capture ended before {step}: {self.process.stderr.read()}')
            try:
                with open(os.path.join(self.directory, 'journal.json'), encoding='utf-8') as file:
                    return json.load(file)['step'] == step
            except FileNotFoundError:
                return False
        wait_until(is_there, 60, f'step {step}', interval=0.01)

    def find_saver(self):
        self.saver = saver_of(self.process.pid)
        return self.saver

    def _has_stopped(self, point):
        if self.process.poll() is not None:
            raise RuntimeError(f'the capture ended before {point}: {self.process.stderr.read()}')
        return is_stopped(self.process.pid)

    def kill_application(self):
        processes.kill(self.process)

    def kill_saver(self):
        if self.saver:
            self.saver.kill()

    def kill_group(self):
        """As a service manager does that knows process groups only."""
        os.killpg(self.process.pid, signal.SIGKILL)
        processes.kill(self.process)

    def interrupt_group(self):
        """Ctrl-C in a terminal."""
        os.killpg(self.process.pid, signal.SIGINT)

    def go_on(self):
        os.kill(self.process.pid, signal.SIGCONT)

    def answer(self, timeout=qsnapcmd.TIMEOUT):
        """The summary of the sealed snapshot; None if it failed, and says why."""
        stdout, stderr = self.process.communicate(timeout=timeout)
        if self.process.returncode == 0:
            return json.loads(stdout)
        assert self.process.returncode == 1 and '\nqsnap: ' in '\n' + stderr, (self.process.returncode, stderr)
        return None

    def sealed(self):
        answer = self.answer()
        assert answer, 'it has failed'
        return answer

    def answer_if_any(self):
        """Of one that was killed: the snapshot, where it had been sealed and tidied up."""
        if os.path.exists(os.path.join(self.directory, 'snapshot.json')):
            return qsnapcmd.show(self.directory)
        return None


# Recovery

def recover(directory, address=None, **options):
    """What the command says."""
    where = [address, directory] if address else [directory]
    return json.loads(qsnapcmd.run('recover', *where, '--json', **options))


def start_recover(directory, address=None):
    where = [address, directory] if address else [directory]
    return processes.start([qsnapcmd.command(), 'recover', *where, '--json'], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True)


def assert_recover_fails(directory, *words, address=None):
    try:
        answer = recover(directory, address)
    except qsnapcmd.QsnapError as error:
        assert error.status == 1 and all(word in error.text for word in words), error
        return
    raise AssertionError(f'recover has not failed: {answer}')


def overlays_in(folder):
    return sorted(name for name in os.listdir(folder) if '.qsnap-' in name)
