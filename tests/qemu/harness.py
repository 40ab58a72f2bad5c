# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real QEMUs with the test guest inside, and what tests ask of them."""

import copy
import dataclasses
import functools
import json
import os
import re
import subprocess
import time

import processes
from guest import GuestChannel, GuestSilent
from qmp import Qmp, QmpClosed

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
VERSIONS = ('7.2', '10.0')
OVMF_CODE = '/usr/share/OVMF/OVMF_CODE_4M.fd'
OVMF_VARIABLES = '/usr/share/OVMF/OVMF_VARS_4M.fd'
BOOT_TIMEOUT = 90
KERNEL_ARGUMENTS = ('console=ttyS0 loglevel=5 tsc=reliable no_timer_check mitigations=off random.trust_cpu=on '
                    'memhp_default_state=online')


class Skip(Exception):
    """The test cannot run here; the text says why."""


# Where things are

def run_tool(path):
    """The last line a tool prints; status 77 means that what it makes cannot be had here."""
    done = subprocess.run([path], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        raise Skip(done.stderr.strip().splitlines()[-1])
    if done.returncode != 0:
        raise RuntimeError(f'{path} failed:\n{done.stderr}')
    return done.stdout.strip().splitlines()[-1]


@functools.cache
def qemu10_folder():
    return run_tool(os.path.join(TESTS, 'tools', 'fetch-qemu10'))


@functools.cache
def guest_folder():
    return run_tool(os.path.join(TESTS, 'guest', 'build'))


def qemu_binary(version):
    return os.path.join(qemu10_folder(), 'qemu-system-x86_64') if version == '10.0' else 'qemu-system-x86_64'


def qemu_img(*arguments):
    """The system's qemu-img; what it prints, parsed if that was asked for."""
    output = subprocess.run(['qemu-img', *arguments], capture_output=True, text=True, check=True, timeout=60).stdout
    return json.loads(output) if '--output=json' in arguments else output


def create_disk(path, disk_format='raw', size='64M'):
    qemu_img('create', '-q', '-f', disk_format, path, size)
    return path


def create_overlay(path, base, base_format):
    qemu_img('create', '-q', '-f', 'qcow2', '-b', os.path.abspath(base), '-F', base_format, path)
    return path


def disk_format(path):
    """What is really in that file; never for images that a guest could have forged."""
    return qemu_img('info', '-U', '--output=json', path)['format']


# A guest's hardware

@dataclasses.dataclass
class Disk:
    """A disk, and how the guest and QEMU's command line see it.

    frontend: virtio, scsi, ide, nvme; hda for "-hda"
    style: drive, drive-if ("-drive if=virtio"), blockdev
    """
    path: str
    format: str = 'raw'
    frontend: str = 'virtio'
    style: str = 'drive-if'
    options: str = ''

    def arguments(self, index):
        if self.frontend == 'hda':
            return ['-hda', self.path]
        if self.style == 'drive-if':
            return ['-drive', f'if=virtio,id=drive{index},file={self.path},format={self.format}{self.options}']
        return self._backend(index) + self._device(index)

    def _backend(self, index):
        if self.style == 'blockdev':
            return ['-blockdev', f'driver=file,node-name=file{index},filename={self.path}',
                    '-blockdev', f'driver={self.format},node-name=drive{index},file=file{index}']
        return ['-drive', f'if=none,id=drive{index},file={self.path},format={self.format}{self.options}']

    def _device(self, index):
        common = f'drive=drive{index},id=disk{index}'
        return {
            'virtio': ['-device', f'virtio-blk-pci,{common},serial=qsnap{index}'],
            'scsi': ['-device', f'virtio-scsi-pci,id=scsi{index}',
                     '-device', f'scsi-hd,bus=scsi{index}.0,{common},serial=qsnap{index}'],
            'ide': ['-device', f'ide-hd,bus=ide.{index // 2},unit={index % 2},{common}'],
            'nvme': ['-device', f'nvme,{common},serial=qsnap{index}'],
        }[self.frontend]


MEMORY = {
    'plain': ['-m', '512M'],
    'large': ['-m', '1G'],
    'numa': ['-m', '512M',
             '-object', 'memory-backend-ram,id=node0-ram,size=256M', '-numa', 'node,nodeid=0,cpus=0,memdev=node0-ram',
             '-object', 'memory-backend-ram,id=node1-ram,size=256M', '-numa', 'node,nodeid=1,cpus=1,memdev=node1-ram'],
    'pc-dimm': ['-m', '512M,slots=2,maxmem=2G',
                '-object', 'memory-backend-ram,id=dimm0-ram,size=256M', '-device', 'pc-dimm,id=dimm0,memdev=dimm0-ram'],
    'memfd-shared': ['-m', '512M', '-object', 'memory-backend-memfd,id=pc.ram,size=512M,share=on',
                     '-machine', 'memory-backend=pc.ram'],
}


@dataclasses.dataclass
class Hardware:
    """All that makes up a guest, so that a twin of it can be built."""
    version: str
    disks: list = dataclasses.field(default_factory=list)
    machine: str = 'q35'
    memory: str = 'plain'
    smp: int = 2
    debug_threads: bool = True
    no_reboot: bool = False
    efi_variables: str = None        # path of the NVRAM: boots through OVMF
    efi_variables_format: str = 'raw'
    extra: list = dataclasses.field(default_factory=list)

    def arguments(self):
        command = ['-no-user-config', '-nodefaults', '-display', 'none',
                   '-machine', f'{self.machine},accel=tcg', '-smp', str(self.smp), *MEMORY[self.memory],
                   '-name', 'guest=qsnap-test' + (',debug-threads=on' if self.debug_threads else ''),
                   '-kernel', os.path.join(guest_folder(), 'vmlinuz'), '-initrd', os.path.join(guest_folder(), 'initrd'),
                   '-append', f'{KERNEL_ARGUMENTS} qsnap.disks={len(self.disks)}']
        if self.efi_variables:
            command += ['-drive', f'if=pflash,unit=0,readonly=on,format=raw,file={OVMF_CODE}',
                        '-drive', f'if=pflash,unit=1,format={self.efi_variables_format},file={self.efi_variables}']
        for index, disk in enumerate(self.disks):
            command += disk.arguments(index)
        if self.no_reboot:
            command.append('-no-reboot')
        return command + self.extra


# A running QEMU

class Qemu:
    """A QEMU process with two monitors, one for libqsnap (qmp_path) and one for the test (qmp()), its guest's console and
    channel."""

    def __init__(self, hardware, incoming=None, incoming_fd=None):
        self.hardware = hardware
        self.folder = processes.temporary_folder()
        self.qmp_path = self._file('qmp.sock')
        self.monitor_path = self._file('monitor.sock')
        self.console_path = self._file('console.log')
        self.stderr_path = self._file('stderr.log')
        self.process = self._start(incoming, incoming_fd)
        self.monitor = Qmp(self.monitor_path, 60)
        self._channel = None
        self._boot_id = None

    def _file(self, name):
        return os.path.join(self.folder, name)

    def _start(self, incoming, incoming_fd):
        command = [qemu_binary(self.hardware.version), *self.hardware.arguments(),
                   *self._monitor('library', self.qmp_path), *self._monitor('harness', self.monitor_path),
                   '-chardev', f'file,id=console,path={self.console_path}', '-serial', 'chardev:console',
                   '-chardev', f'socket,id=channel,path={self._file("channel.sock")},server=on,wait=off',
                   '-serial', 'chardev:channel']
        if incoming:
            command += ['-incoming', incoming]
        with open(self.stderr_path, 'wb') as stderr:
            return processes.start(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                                   pass_fds=[incoming_fd] if incoming_fd is not None else [])

    @staticmethod
    def _monitor(name, path):
        return ['-chardev', f'socket,id={name},path={path},server=on,wait=off', '-mon', f'chardev={name},mode=control']

    # QEMU

    @property
    def pid(self):
        return self.process.pid

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

    def wait_exit(self, timeout=60):
        """QEMU's exit status."""
        return self.process.wait(timeout)

    def is_running(self):
        return self.process.poll() is None

    def kill(self):
        if self._channel:
            self._channel.close()
        processes.kill(self.process)

    def stderr(self):
        with open(self.stderr_path, errors='replace') as file:
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
            self._channel = GuestChannel(self._file('channel.sock'))
        return self._channel

    def guest(self, text, timeout=60):
        return self.channel.command(text, timeout)

    def console(self):
        try:
            with open(self.console_path, errors='replace') as file:
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
        wait_until(is_ready, timeout, 'the guest to boot')
        self._boot_id = self.guest('status')['boot']
        return self

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
        assert after['boot'] == (self._boot_id or after['boot']), 'the guest has rebooted'
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


# Ways back, with nothing of libqsnap in them

def twin_over(hardware, bases, folder, efi_variables_base=None):
    """The same hardware, its disks being fresh overlays over those bases."""
    twin = copy.deepcopy(hardware)
    for index, (disk, base) in enumerate(zip(twin.disks, bases, strict=True)):
        disk.path = create_overlay(os.path.join(folder, f'revert{index}.qcow2'), base, disk_format(base))
        disk.format = 'qcow2'
    if efi_variables_base:
        twin.efi_variables = create_overlay(os.path.join(folder, 'revert-efi.qcow2'), efi_variables_base,
                                            disk_format(efi_variables_base))
        twin.efi_variables_format = 'qcow2'
    return twin


def load_stream(hardware, stream, bases, efi_variables_base=None, timeout=120):
    """A fresh stock QEMU that has loaded a plain migration stream (a path, or a descriptor) and continues the guest on
    overlays over the bases. The caller asks it assert_consistent(), or for its complaints."""
    folder = processes.temporary_folder()
    twin = twin_over(hardware, bases, folder, efi_variables_base)
    if isinstance(stream, int):
        qemu = Qemu(twin, incoming=f'fd:{stream}', incoming_fd=stream)
    else:
        qemu = Qemu(twin, incoming=f'exec:cat {stream}')

    def has_loaded():
        if not qemu.is_running():
            raise RuntimeError(f'the stream does not load: {qemu.stderr()}')
        return qemu.status() != 'inmigrate'
    try:
        wait_until(has_loaded, timeout, 'the stream to be loaded')
    except QmpClosed as error:
        raise RuntimeError(f'the stream does not load: {qemu.stderr()}') from error
    if qemu.status() != 'running':
        qemu.qmp('cont')
    return qemu
