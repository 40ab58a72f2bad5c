# SPDX-License-Identifier: LGPL-2.1-or-later
"""Something goes wrong at every step of a capture: the guest runs on as it was, or the snapshot is sound.

What the mock is asked in tests/unit/test-capture-faults.c, asked of real QEMUs. Each test prints a table: what became of the
capture, and the seconds from the fault until qsnap had ended. A permission that is missing is in test_bad_input.py."""

import glob
import os
import random
import shutil
import signal
import time

import captures
import faults
import harness
import processes
import qmp
import qsnapcmd
from faults import CANCEL, CANCEL_TWICE, ERROR, FAULTS, GONE_AFTER, GONE_BEFORE, NO_REPLY
from runner import test

TIMEOUT_MS = 3000  # for an answer that is swallowed; longer than a command takes on a busy machine

UNDONE, CAPTURED, COMPLETE, NOT_SENT = 'undone', 'captured', 'complete', 'not sent'
LEGEND = f'''\
{UNDONE}: an error that names the step, and the guest is as it was
{CAPTURED}: the snapshot is sound all the same; what failed can be done without, or was done again
{COMPLETE}: the snapshot is sound, QEMU's settings could not be put back, and the error says so
{NOT_SENT}: this capture had no need of the command
-: not in this run (--full has every cell)'''

# What can do without an answer; the first qom-get is for the machine's type.
OPTIONAL = ('query-name', 'query-uuid', 'query-cpus-fast', 'query-memory-size-summary', 'query-memdev')
# What looks for reasons against a capture: a QEMU may say no, but not nothing.
SEARCHING = ('qom-list', 'human-monitor-command', 'query-block-exports', 'qom-get')

STEPS = ('negotiating', 'checking the guest', 'preparing', 'starting the', 'stopping the guest', 'snapshotting',
         'resuming the guest', 'saving the memory', 'sealing', 'put back', 'QEMU cannot track')

WORDS = {ERROR: faults.INJECTED, NO_REPLY: 'no answer', GONE_BEFORE: 'closed', GONE_AFTER: 'closed',
         CANCEL: 'cancelled', CANCEL_TWICE: 'cancelled'}


class Bench:
    """A guest behind a proxy, and captures of it that leave it as it was."""

    def __init__(self, run):
        self.run = run
        self.proxy = None
        self.running = None
        self.snapshots, self.overlays = run.folder, run.folder
        self._number = 0
        self.boot()

    def boot(self):
        self._number += 1
        for path in self._left():
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        if self.proxy:
            self.proxy.close()
            self.qemu.kill()
        disk = harness.Disk(harness.create_disk(self.run.file(f'disk{self._number}.raw')))
        self.qemu = self.run.boot([disk], memory='256M')
        self.qemu.work_hard(fill_mib=32, dirty=20, rate=200)
        self.before = self.qemu.fingerprint()
        self.proxy = faults.Proxy(self.run.file(f'proxy{self._number}.sock'), self.qemu.qmp_path)

    def capture(self, *options, **variables):
        return Attempt(self, options, variables)

    def mount(self):
        """Small file systems for the snapshot and for the overlay."""
        self.snapshots, self.overlays = self.run.file('snapshots'), self.run.file('overlays')
        return all(processes.mount_tmpfs(folder, ROOM) for folder in (self.snapshots, self.overlays))

    def make_room(self):
        for folder in (self.snapshots, self.overlays):
            faults.make_room(folder, ROOM)

    def targets(self):
        """Every command of a capture without a fault, as (command, nth)."""
        self.proxy.reset()
        self.capture().assert_succeeded()
        commands = self.proxy.commands
        return [(command, commands[:index + 1].count(command)) for index, command in enumerate(commands)]

    def assert_no_trace(self):
        assert not self._left(), self._left()
        harness.wait_until(lambda: not self.running.savers(), 10, 'the saver to end')
        captures.assert_as_it_was(self.qemu, self.before)
        self.qemu.assert_alive()

    def _left(self):
        return glob.glob(f'{self.snapshots}/snapshot') + glob.glob(f'{self.overlays}/*.qsnap-*')

    def note(self, wrong, name, attempt, *arguments):
        """A cell of a table. A guest that is not what it was is replaced."""
        started = time.monotonic()
        try:
            return attempt(self, *arguments)
        except Exception as error:  # pylint: disable=broad-except
            wrong.append(f'{name}: {type(error).__name__} {error}')
        try:
            self.assert_no_trace()
        except Exception as error:  # pylint: disable=broad-except
            wrong[-1] += f'; left: {error}'
            self.boot()
        return f'WRONG {time.monotonic() - started:.1f}'

    def finish(self, wrong):
        """A new capture works."""
        self.proxy.reset()
        self.capture().assert_succeeded()
        assert not wrong, '\n'.join(wrong)


class Attempt:
    """A capture that has come to its end, good or bad."""

    def __init__(self, bench, options, variables):
        self.bench = bench
        self.directory = os.path.join(bench.snapshots, 'snapshot')
        started = time.monotonic()
        bench.running = faults.MarkedCapture(bench.qemu, bench.proxy.path, self.directory, *options, **variables)
        self.summary, self.status, self.text = None, 0, ''
        try:
            self.summary = bench.running.finish()
        except qsnapcmd.QsnapError as error:
            self.status, self.text = error.status, error.text
        self.seconds = time.monotonic() - (bench.proxy.time_of_fault or started)

    def is_sealed(self):
        return os.path.exists(os.path.join(self.directory, 'snapshot.json'))

    def assert_succeeded(self):
        """And brings the guest back to the images that it had."""
        assert self.summary, self.text
        self.take_back(self.summary)

    def take_back(self, summary):
        captures.assert_is_sealed(self.directory)
        faults.merge_back(self.bench.qemu, summary)
        shutil.rmtree(self.directory)
        self.bench.assert_no_trace()


# The judgement of one cell

def settles(targets, target):
    """It puts something back, after the memory was saved."""
    last = [command for command, _ in targets]
    first = len(last) - last[::-1].index('migrate-set-capabilities') - 1
    return targets.index(target) >= first


def may_do_without(targets, target, fault):
    """The second migrate-set-capabilities ends a trial, and is sent once more where it fails. What is put back at the end is
    put back over another connection."""
    if settles(targets, target):
        return fault in (GONE_BEFORE, GONE_AFTER)
    if target[0] in OPTIONAL or target == ('qom-get', 1):
        return fault in (ERROR, NO_REPLY)
    return fault == ERROR and (target[0] in SEARCHING or target == ('migrate-set-capabilities', 2))


def assert_first_error(text, target, fault):
    assert WORDS[fault] in text.lower(), f'not "{WORDS[fault]}": {text}'
    if fault not in (CANCEL, CANCEL_TWICE):
        assert target[0] in text or any(step in text for step in STEPS), f'names no step: {text}'


def put_settings_back(bench):
    """What an error said that is left."""
    capabilities = [{'capability': name, 'state': state} for name, state in bench.before['capabilities'].items()
                    if state != bench.qemu.capabilities()[name]]
    if capabilities:
        bench.qemu.qmp('migrate-set-capabilities', capabilities=capabilities)
    bench.qemu.qmp('set-action', shutdown='poweroff')
    close_descriptors(bench)


def close_descriptors(bench):
    """They belong to the monitor that they came by."""
    monitor = bench.qemu.second_monitor()
    for name in ('qsnap-probe', 'qsnap-keep', 'qsnap-stream'):
        try:
            monitor.execute('closefd', {'fdname': name})
        except qmp.QmpError:
            pass
    monitor.close()


def judge(bench, targets, target, fault, attempt):
    if bench.proxy.time_of_fault is None:
        attempt.assert_succeeded()
        return NOT_SENT
    if attempt.summary:
        attempt.assert_succeeded()
        assert may_do_without(targets, target, fault), 'captured all the same'
        return CAPTURED
    if attempt.is_sealed():
        assert settles(targets, target) and fault in (ERROR, NO_REPLY), attempt.text
        assert 'the snapshot is complete' in attempt.text and WORDS[fault] in attempt.text, attempt.text
        put_settings_back(bench)
        attempt.take_back(qsnapcmd.show(attempt.directory))
        return COMPLETE
    bench.assert_no_trace()
    assert_first_error(attempt.text, target, fault)
    return UNDONE


def try_cell(bench, targets, target, fault):
    """What became of it, and how long it took."""
    options = ('--timeout-ms', str(TIMEOUT_MS)) if fault == NO_REPLY else ()
    bench.proxy.reset(*target, fault)
    attempt = bench.capture(*options)
    return f'{judge(bench, targets, target, fault, attempt)} {attempt.seconds:.1f}'


def print_table(version, columns, rows):
    widths = [max(len(line[index]) for line in [('', *columns), *rows]) for index in range(len(columns) + 1)]
    print(f'QEMU {version}')
    for line in [('', *columns), *rows]:
        print('  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def sample(place):
    """For a short run: one fault at every second command, another one each time."""
    return [] if place % 2 else [FAULTS[place // 2 % len(FAULTS)]]


@test(small=1, full=12, timeout=100, shows=True)
def fault_at_every_command(run):
    bench = Bench(run)
    targets = bench.targets()
    offset = random.randrange(2 * len(FAULTS))
    rows, wrong = [], []
    for index, target in enumerate(targets):
        name = f'{target[0]} #{target[1]}'
        chosen = FAULTS if run.count > 1 else sample(index + offset)
        rows.append([name] + [bench.note(wrong, f'{name}, {fault}', try_cell, targets, target, fault)
                              if fault in chosen else '-' for fault in FAULTS])
    print_table(run.version, FAULTS, rows)
    print(LEGEND)
    bench.finish(wrong)


# What has to do with no command

ROOM = '600M'


def phases(targets):
    """A command in each phase; while memory is saved there is none, but for the first after the pause."""
    last = dict(targets)
    return {'overlay is made': ('blockdev-create', 1), 'saver waits': ('set-action', 1), 'guest stands': ('transaction', 1),
            'memory is saved': ('query-migrate-capabilities', last['query-migrate-capabilities']),
            'memory is there': ('set-action', last['set-action'])}


def kill_saver(bench):
    for pid in bench.running.savers():
        os.kill(pid, signal.SIGKILL)


def fill_snapshot_folder(bench):
    faults.leave_no_room(bench.snapshots)


def fill_overlay_folder(bench):
    """While the guest, unless it stands, writes where it has not written yet."""
    if bench.qemu.status() == 'running':
        bench.qemu.guest('write-random 200')
    faults.leave_no_room(bench.overlays)


def fill_overlay_folder_and_cancel(bench):
    """Once QEMU has stopped the guest for it."""
    fill_overlay_folder(bench)
    bench.qemu.wait_status('io-error')
    bench.running.interrupt()
    time.sleep(faults.NOTICE)


DIES, NO_ROOM, CANCELLED = 'ended before its time', 'No space left', 'cancelled'
NONE_YET, OVER = f'{CAPTURED} (no saver yet)', f'{CAPTURED} (it has ended already)'
WAITS = f'{CAPTURED} (the guest waits for room)'

# What happens in each phase: undone with that word, or captured.
TROUBLES = {
    'saver killed': (kill_saver, (NONE_YET, DIES, DIES, DIES, OVER)),
    'snapshot\'s folder full': (fill_snapshot_folder, (NO_ROOM, NO_ROOM, NO_ROOM, NO_ROOM, NO_ROOM)),
    'overlay\'s folder full': (fill_overlay_folder, (NO_ROOM, WAITS, WAITS, WAITS, WAITS)),
    'the same, cancelled': (fill_overlay_folder_and_cancel, (None, None, None, CANCELLED, CANCELLED)),
}


def try_trouble(bench, target, happen, expected):
    bench.make_room()
    bench.proxy.reset(*target, lambda: happen(bench))
    attempt = bench.capture('--overlay-directory', bench.overlays)
    assert bench.proxy.time_of_fault, 'it has not happened'
    if expected == WAITS:
        bench.qemu.wait_status('io-error')
        bench.make_room()
        bench.qemu.qmp('cont')
        bench.qemu.assert_alive()
    bench.make_room()
    bench.qemu.guest('write-random 0')
    if expected.startswith(CAPTURED):
        attempt.assert_succeeded()
        return f'{expected} {attempt.seconds:.1f}'
    assert not attempt.summary and not attempt.is_sealed(), f'captured; expected {expected}'
    bench.assert_no_trace()
    assert expected in attempt.text, f'not "{expected}": {attempt.text}'
    return f'{UNDONE} {attempt.seconds:.1f}'


@test(timeout=120, shows=True)
def trouble_in_every_phase(run):
    bench = Bench(run)
    targets = phases(bench.targets())
    if not bench.mount():
        run.skip('a small file system cannot be mounted (needs root)')
    rows, wrong = [], []
    for name, (happen, expectations) in TROUBLES.items():
        row = [name]
        for (phase, target), expected in zip(targets.items(), expectations, strict=True):
            row.append('no guest to wait for' if expected is None else
                       bench.note(wrong, f'{name}, {phase}', try_trouble, target, happen, expected))
        rows.append(row)
    print_table(run.version, list(targets), rows)
    bench.finish(wrong)


# The device fails

def syncs_of_a_capture(bench):
    """Each fsync and fdatasync: (program, nth)."""
    log = bench.run.file('syncs')
    bench.proxy.reset()
    bench.capture(QSNAP_TEST_SYNC_LOG=log).assert_succeeded()
    with open(log, encoding='ascii') as file:
        programs = file.read().split()
    return [(program, programs[:index + 1].count(program)) for index, program in enumerate(programs)]


def try_sync(bench, program, nth):
    """A flush of the base before the pause only shortens it; nothing else may be done without."""
    bench.proxy.reset()
    attempt = bench.capture(QSNAP_TEST_SYNC=f'{program}:{nth}')
    if attempt.summary:
        attempt.assert_succeeded()
        return f'{CAPTURED} {attempt.seconds:.1f}'
    assert not attempt.is_sealed(), attempt.text
    bench.assert_no_trace()
    assert 'Input/output error' in attempt.text, attempt.text
    return f'{UNDONE} {attempt.seconds:.1f}'


@test(small=4, full=100, timeout=60, shows=True, small_version='7.2')
def sync_fails(run):
    """Once, at each of them; the device is good again for the undo."""
    if not faults.interposer():
        run.skip('no C compiler')
    bench = Bench(run)
    syncs = syncs_of_a_capture(bench)
    wrong = []
    rows = [[f'{program} #{nth}', bench.note(wrong, f'{program} #{nth}', try_sync, program, nth)]
            for program, nth in sorted(random.sample(syncs, min(run.count, len(syncs))), key=syncs.index)]
    print_table(run.version, ['fsync fails'], rows)
    captured = [row for row in rows if row[1].startswith(CAPTURED)]
    assert len(captured) <= len(bench.qemu.hardware.disks), f'more than the flush before the pause: {captured}'
    bench.finish(wrong)
