# SPDX-License-Identifier: LGPL-2.1-or-later
"""What tests ask of a QEMU that runs, however it was started, and of the guest in it."""

import json
import os
import re
import time

import processes
from guest import GuestChannel, GuestSilent
from qmp import Qmp

BOOT_TIMEOUT = 90
BOOT_SILENCE = 15  # seconds; six that boot side by side on two processors are silent for up to 7


def innermost_file(name):
    """QEMU shows json:{…} for a node whose header names another backing file than the node it stands on: as /dev/fdset/N
    does."""
    if not name.startswith('json:'):
        return name
    node = json.loads(name.removeprefix('json:'))
    while 'file' in node:
        node = node['file']
    return node['filename']


def wait_until(condition, timeout, what, interval=0.05):
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f'{timeout} s passed, waiting for {what}')
        time.sleep(interval)


class RunningQemu:
    """A QEMU with two monitors, one for libqsnap (qmp_path) and one for the test (qmp()), its guest's console and channel:
    all of them in its folder, under the names of their chardevs. Who starts it says what pid, is_running(), wait_exit() and
    _end() are."""

    def __init__(self, hardware, folder):
        self.hardware = hardware
        self.folder = folder
        self.qmp_path = self.file('library.sock')
        self.monitor_path = self.file('harness.sock')
        self.monitor = Qmp(self.monitor_path, 60)
        self._channel = None
        self.boot_id = None

    def file(self, name):
        return os.path.join(self.folder, self.hardware.file_names.get(name, name))

    # QEMU

    @property
    def version(self):
        return self.hardware.version

    def qmp(self, command, fds=(), timeout=60, **arguments):
        return self.monitor.execute(command, {key.replace('_', '-'): value for key, value in arguments.items()}, fds, timeout)

    def second_monitor(self):
        """A client on the monitor that is libqsnap's, while libqsnap is not there."""
        return Qmp(self.qmp_path)

    def status(self):
        return self.qmp('query-status')['status']

    def wait_status(self, status, timeout=60):
        wait_until(lambda: self.status() == status, timeout, f'QEMU to be {status}')

    def kill(self):
        if self._channel:
            self._channel.close()
        self._end()

    def stderr(self):
        with open(self.file('qemu.log'), errors='replace') as file:
            return file.read()

    # What a capture must leave as it was

    def capabilities(self):
        return {one['capability']: one['state'] for one in self.qmp('query-migrate-capabilities')}

    def migration_parameters(self):
        return self.qmp('query-migrate-parameters')

    def fdsets(self):
        return sorted(one['fdset-id'] for one in self.qmp('query-fdsets'))

    def open_files(self):
        """What each open descriptor of QEMU is; sockets and pipes without their numbers. QEMU 10 opens /dev/userfaultfd at
        its first use and keeps it: that is its own business."""
        folder = f'/proc/{self.pid}/fd'
        names = []
        for number in os.listdir(folder):
            try:
                names.append(re.sub(r':\[.*', '', os.readlink(os.path.join(folder, number))))
            except FileNotFoundError:
                pass
        return sorted(name for name in names if name != '/dev/userfaultfd')

    def disk_files(self):
        """The file that each writable drive is on now, in QEMU's order of drives."""
        names = self._names_of_fdsets()
        files = [innermost_file(drive['inserted']['file']) for drive in self._writable_drives()]
        return [names.get(file, file) for file in files]

    def _names_of_fdsets(self):
        """A node on descriptors shows /dev/fdset/N only; who added them may have said what file that is."""
        return {f'/dev/fdset/{one["fdset-id"]}': fd['opaque']
                for one in self.qmp('query-fdsets') for fd in one['fds'] if 'opaque' in fd}

    def disk_nodes(self):
        return [drive['inserted']['node-name'] for drive in self._writable_drives()]

    def _writable_drives(self):
        return [drive for drive in self.qmp('query-block') if 'inserted' in drive and not drive['inserted']['ro']]

    def block_graph(self):
        """Drives and their nodes, nodes and what they stand on."""
        nodes = {node['node-name']: (node['drv'], node['file'], node.get('backing_file'), node['ro'])
                 for node in self.qmp('query-named-block-nodes', flat=True)}
        drives = {drive['device'] or drive['qdev']: drive.get('inserted', {}).get('node-name')
                  for drive in self.qmp('query-block')}
        return {'drives': drives, 'nodes': nodes}

    def fingerprint(self):
        """For "the guest is as it was": equal before and after something that must have no trace."""
        return {'blocks': self.block_graph(), 'capabilities': self.capabilities(), 'parameters': self.migration_parameters(),
                'fdsets': self.fdsets(), 'jobs': self.qmp('query-jobs'), 'status': self.status(),
                'files': self.open_files()}

    # The guest

    @property
    def channel(self):
        if self._channel is None:
            self._channel = GuestChannel(self.file('channel.sock'))
        return self._channel

    def guest(self, text, timeout=60):
        return self.channel.command(text, timeout)

    def console(self):
        try:
            with open(self.file('console.log'), errors='replace') as file:
                return file.read()
        except FileNotFoundError:
            return ''

    def complaints(self):
        """What the guest has found wrong."""
        return re.findall(r'^(?:TORN|BADPAGE|FATAL).*', self.console(), re.MULTILINE)

    def wait_ready(self, timeout=BOOT_TIMEOUT, boots=1):
        """Until the guest has booted for the nth time."""
        def is_ready():
            if not self.is_running():
                raise RuntimeError(f'QEMU {self.version} ended: {self.stderr()}')
            if 'FATAL' in self.console():
                raise RuntimeError(f'guest: {self.complaints()}')
            return self.console().count('READY boot=') >= boots
        try:
            wait_until(is_ready, timeout, 'the guest to boot')
        except TimeoutError as error:
            raise TimeoutError(f'{error}; its console ends with:\n{self.console()[-1000:]}') from None
        self.boot_id = self.guest('status')['boot']
        return self

    def has_stalled(self, silence=BOOT_SILENCE):
        """Whether a guest that boots has said nothing for so long; False as soon as it has booted."""
        console, since = '', time.monotonic()
        while time.monotonic() < since + silence:
            if not self.is_running() or 'READY boot=' in console:
                return False
            time.sleep(0.1)
            if self.console() != console:
                console, since = self.console(), time.monotonic()
        return True

    def work_hard(self, fill_mib=200, dirty='max', rate='max'):
        """Flat out, unless told otherwise."""
        self.guest(f'fill {fill_mib}')
        self.guest(f'dirty {dirty}')
        self.guest(f'rate {rate}')

    def counters(self):
        status = self.guest('status')
        return [status['ticks'], *status['steps']]

    def assert_alive(self, timeout=20):
        """It is the same boot, all counters go on, all disks are there, nothing was found wrong."""
        before = self.guest('status')
        wait_until(lambda: all(new > old for new, old in zip(self.counters(), [before['ticks'], *before['steps']])),
                   timeout, 'the counters of the guest to go on')
        after = self.guest('status')
        assert after['ndisks'] == len(self.hardware.disks), after
        assert after['boot'] == (self.boot_id or after['boot']), 'the guest has rebooted'
        assert after['torn'] == 0 and after['badpages'] == 0, (after, self.complaints())
        assert not self.complaints(), self.complaints()
        return after

    def assert_stopped(self, seconds=0.5):
        """The guest executes nothing: no answer on its channel."""
        try:
            self.guest('status', timeout=seconds)
        except GuestSilent:
            return
        raise AssertionError('a guest that should be stopped has answered')

    def full_check(self):
        """The worker's verification of every slot and every page."""
        return self.guest('check', timeout=120)

    def assert_consistent(self):
        check = self.full_check()
        assert check['torn'] == 0 and check['badpages'] == 0, (check, self.complaints())
        assert check['slots'] > 0 or not self.hardware.disks, check
        return check

    # Migration, seen from the second monitor

    def migration(self):
        return self.qmp('query-migrate')

    def wait_memory_is_being_saved(self, timeout=60):
        """The point in time has passed, the guest runs again, memory is still on its way."""
        def is_saving():
            state = self.migration()
            if state.get('status') in ('completed', 'failed', 'cancelled'):
                raise RuntimeError(f'too late: the migration is {state["status"]}')
            pages = state.get('ram', {})
            return state.get('status') == 'active' and pages.get('normal', 0) > 0 and self.qmp('query-status')['running']
        wait_until(is_saving, timeout, 'memory to be saved', interval=0.01)


class StrangersQemu(RunningQemu):
    """A QEMU that is nobody's child of ours."""

    def __init__(self, hardware, folder, pid):
        self.process = processes.Stranger(pid)
        super().__init__(hardware, folder)

    @property
    def pid(self):
        return self.process.pid

    def wait_exit(self, timeout=60):
        """Its status is its parent's to know."""
        if not self.process.has_ended(timeout):
            raise TimeoutError(f'{timeout} s passed, QEMU {self.pid} still runs')

    def is_running(self):
        return not self.process.has_ended()

    def _end(self):
        self.process.kill()
