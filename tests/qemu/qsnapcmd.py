# SPDX-License-Identifier: LGPL-2.1-or-later
"""The qsnap command, as tests call it."""

import glob
import json
import os
import signal
import subprocess

import harness
import processes

TIMEOUT = 180
PROJECT = os.path.dirname(harness.TESTS)


class QsnapError(Exception):
    """The command said no."""

    def __init__(self, status, stderr):
        super().__init__(f'exit status {status}: {stderr.strip()}')
        self.status = status
        self.text = stderr.strip()


def command():
    """QSNAP_COMMAND, or what was built last."""
    given = os.environ.get('QSNAP_COMMAND')
    if given:
        return given
    built = [path for pattern in ('build*', '_build*') for path in glob.glob(f'{PROJECT}/{pattern}/examples/qsnap')]
    if not built:
        raise harness.Skip('no qsnap command: build it first, or set QSNAP_COMMAND')
    return max(built, key=os.path.getmtime)


def run(*arguments, timeout=TIMEOUT, **options):
    """What it prints on stdout."""
    done = subprocess.run([command(), *arguments], capture_output=True, text=True, timeout=timeout, check=False, **options)
    if done.returncode != 0:
        raise QsnapError(done.returncode, done.stderr)
    return done.stdout


def check(address, *arguments):
    return json.loads(run('check', address, *arguments, '--json'))


def snapshot(address, directory, *arguments, **options):
    return json.loads(run('snapshot', address, directory, '--json', *arguments, **options))


def refusal(*arguments):
    """What the command says, which has to say no."""
    try:
        run(*arguments)
    except QsnapError as error:
        assert error.status == 1, error
        return error.text
    raise AssertionError(f'not refused: {arguments}')


def show(directory):
    return json.loads(run('show', directory, '--json'))


def verify(directory):
    return run('verify', directory)


def _restore(arguments, qemu_command):
    return json.loads(run(*arguments, '--json', *(['--', *qemu_command] if qemu_command else [])))


def revert(directory, *options, qemu_command=None):
    """What the command says of the guest that runs now."""
    return _restore(['revert', directory, *options], qemu_command)


def clone(directory, number, *options, qemu_command=None):
    return _restore(['clone', directory, '-n', str(number), *options], qemu_command)['guests']


def quit_qemu(address):
    return run('quit', address)


def export(directory, path):
    """Writes the plain migration stream into a file."""
    with open(path, 'wb') as file:
        subprocess.run([command(), 'export', directory], stdout=file, check=True, timeout=TIMEOUT)
    return path


def start_export(directory):
    """(process, read end of a pipe): the stream as it is made."""
    read_end, write_end = os.pipe()
    process = processes.start([command(), 'export', directory], stdout=write_end)
    os.close(write_end)
    return process, read_end


class Running:
    """A command under way in a process of its own."""

    def __init__(self, *arguments, **options):
        self._process = processes.start([command(), *arguments, '--json'], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, **options)

    @property
    def pid(self):
        return self._process.pid

    def interrupt(self):
        """Ctrl-C."""
        os.kill(self._process.pid, signal.SIGINT)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def is_running(self):
        return self._process.poll() is None

    def finish(self, timeout=TIMEOUT):
        """What it says, parsed; QsnapError if it has failed."""
        stdout, stderr = self._process.communicate(timeout=timeout)
        if self._process.returncode != 0:
            raise QsnapError(self._process.returncode, stderr)
        return json.loads(stdout)


class RunningSnapshot(Running):
    """A capture."""

    def __init__(self, address, directory, *arguments, **options):
        super().__init__('snapshot', address, directory, *arguments, **options)
