# SPDX-License-Identifier: LGPL-2.1-or-later
"""A tiny test runner: one process a test, so that a test which hangs is killed with all it started."""

import argparse
import concurrent.futures
import dataclasses
import faulthandler
import fnmatch
import glob
import os
import select
import signal
import sys
import tempfile
import time
import traceback

import harness
import processes
import qsnapcmd

PASSED, FAILED, SKIPPED = 'ok', 'FAIL', 'SKIP'
SKIP_STATUS = 77
TELL_SIGNAL = signal.SIGUSR1  # asks a test where it is

_tests = []


@dataclasses.dataclass
class Test:
    function: object
    version: str      # of QEMU; None: the test needs none
    small: int
    full: int
    timeout: float    # seconds for the small count, alone on the machine
    needs_qsnap: bool
    alone: bool       # compares times, or needs the whole machine
    shows: bool       # what it prints is worth reading even if it passes
    spare: bool       # with this version in the full count only

    @property
    def name(self):
        return self.function.__name__ + (f'[{self.version}]' if self.version else '')

    def count(self, full):
        return self.full if full else self.small

    def time_limit(self, full, jobs):
        return self.timeout * jobs * max(1, self.count(full) / self.small)


class Run:
    """What a test gets: its QEMU version, its count, and things that go away with it."""

    def __init__(self, version, count):
        self.version = version
        self.count = count
        self.folder = processes.temporary_folder()

    def file(self, name):
        return os.path.join(self.folder, name)

    def disks(self, number=1, disk_format='raw', size='64M', **options):
        """New, empty disks; the options are those of harness.Disk."""
        paths = [self.file(f'disk{index}.{disk_format}') for index in range(number)]
        return [harness.Disk(harness.create_disk(path, disk_format, size), disk_format, **options) for path in paths]

    def boot(self, disks=None, **hardware):
        """A guest that is ready; one virtio disk unless told otherwise."""
        disks = self.disks() if disks is None else disks
        return harness.boot(harness.Hardware(self.version, disks, **hardware))

    @staticmethod
    def skip(reason):
        raise harness.Skip(reason)


def test(versions=harness.VERSIONS, small=1, full=None, timeout=60, needs_qsnap=True, alone=False, shows=False,
         small_version=None):
    """Registers a test: once for each QEMU version, or once without any; in the small count with small_version only, if that
    is given."""
    def register(function):
        for version in versions or (None,):
            spare = small_version is not None and version != small_version
            _tests.append(Test(function, version, small, full or small, timeout, needs_qsnap, alone, shows, spare))
        return function
    return register


def reason_to_skip(one):
    """What the test needs is made here, once, outside its time limit."""
    try:
        if one.needs_qsnap:
            qsnapcmd.command()
        if one.version:
            harness.qemu_binary(one.version)
            harness.guest_folder()
    except harness.Skip as reason:
        return str(reason)
    return None


def run_in_this_process(one, full, folder):
    tempfile.tempdir = folder
    faulthandler.register(TELL_SIGNAL)
    status = 1
    try:
        one.function(Run(one.version, one.count(full)))
        status = 0
    except harness.Skip as reason:
        print(reason, file=sys.stderr)
        status = SKIP_STATUS
    except BaseException:  # pylint: disable=broad-except
        traceback.print_exc()
    finally:
        try:
            processes.clean_up()
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(status)


def wait_for(pid, seconds):
    """The exit status; None if it had to be killed."""
    pidfd = os.pidfd_open(pid)
    try:
        ended = select.select([pidfd], [], [], seconds)[0]
        if not ended:
            os.kill(pid, TELL_SIGNAL)
            time.sleep(0.5)
            os.kill(pid, signal.SIGKILL)  # what it started dies with it
        status = os.waitpid(pid, 0)[1]
    finally:
        os.close(pidfd)
    return os.waitstatus_to_exitcode(status) if ended else None


def tails(folder):
    """What the guests and their QEMUs said last, for a test that hung."""
    for path in sorted(glob.glob(os.path.join(folder, '**', '*.log'), recursive=True)):
        with open(path, errors='replace') as file:
            lines = file.read().splitlines()[-8:]
        if lines:
            yield f'{os.path.relpath(path, folder)}:'
            yield from ('  ' + line for line in lines)


def run_test(one, full, jobs):
    """(verdict, what to tell)"""
    reason = reason_to_skip(one)
    if reason:
        return SKIPPED, reason

    limit = one.time_limit(full, jobs)
    folder = processes.temporary_folder()
    with tempfile.TemporaryFile('w+', errors='replace') as log:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            processes.forget_all()
            run_in_this_process(one, full, folder)
        status = wait_for(pid, limit)
        log.seek(0)
        text = log.read().strip()
        hung = list(tails(folder)) if status is None else []
    processes.remove_folder(folder)

    if status == 0:
        return PASSED, text if one.shows else ''
    if status == SKIP_STATUS:
        return SKIPPED, text.splitlines()[-1] if text else 'no reason given'
    if status is None:
        text = '\n'.join([text, *hung])
        text += f'\nkilled after {limit:.0f} s'
    return FAILED, text


def selected(pattern, version):
    return [one for one in _tests
            if (not pattern or pattern in one.name or fnmatch.fnmatch(one.name, pattern))
            and (not version or one.version in (version, None))]


def report(one, verdict, text, seconds):
    """In one write, so that two tests do not mix."""
    reason = f' {text}' if verdict == SKIPPED else ''
    lines = [f'{verdict}{reason} - {one.name} {seconds:.1f}s']
    if verdict == FAILED or (verdict == PASSED and one.shows):
        lines += ['    ' + line for line in text.splitlines()[0 if one.shows else -40:]]
    print('\n'.join(lines) + '\n', end='', flush=True)


def run_and_report(one, full, jobs):
    start = time.monotonic()
    verdict, text = run_test(one, full, jobs)
    report(one, verdict, text, time.monotonic() - start)
    return verdict


def run_all(tests, full, jobs):
    """The verdicts. Tests that do not have to be alone run beside each other: much of a guest's boot is waiting."""
    together = [one for one in tests if not one.alone]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        verdicts = list(pool.map(lambda one: run_and_report(one, full, jobs), together))
    return verdicts + [run_and_report(one, full, 1) for one in tests if one.alone]


def main():
    parser = argparse.ArgumentParser(description='Tests on real QEMUs.')
    parser.add_argument('--full', action='store_true', help='the full counts')
    parser.add_argument('-k', metavar='PATTERN', help='only tests whose name has this in it, or matches it')
    parser.add_argument('--qemu', choices=harness.VERSIONS)
    parser.add_argument('--jobs', metavar='N', type=int, default=2, help='tests at the same time (2)')
    parser.add_argument('--list', action='store_true')
    options = parser.parse_args()

    tests = [one for one in selected(options.k, options.qemu) if options.full or options.k or not one.spare]
    if options.list:
        for one in tests:
            print(f'{one.name}  small {one.small}, full {one.full}, {one.timeout} s')
        return 0

    verdicts = run_all(tests, options.full, options.jobs)
    print(', '.join(f'{verdicts.count(verdict)} {word}'
                    for verdict, word in ((PASSED, 'passed'), (FAILED, 'failed'), (SKIPPED, 'skipped'))))
    return 1 if FAILED in verdicts else 0
