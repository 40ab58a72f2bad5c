# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real QEMUs with the test guest inside, and what tests ask of them."""

import copy
import dataclasses
import functools
import json
import os
import subprocess

import processes
from qmp import QmpClosed
from running import RunningQemu, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
VERSIONS = ('7.2', '10.0')
OVMF_CODE = '/usr/share/OVMF/OVMF_CODE_4M.fd'
OVMF_VARIABLES = '/usr/share/OVMF/OVMF_VARS_4M.fd'
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


def depth_of(path):
    """How many images there are in the chain from that one down."""
    return len(qemu_img('info', '-U', '--backing-chain', '--output=json', path))


def create_disk(path, disk_format='raw', size='64M'):
    qemu_img('create', '-q', '-f', disk_format, path, size)
    return path


def create_overlay(path, base, base_format):
    qemu_img('create', '-q', '-f', 'qcow2', '-b', os.path.abspath(base), '-F', base_format, path)
    return path


def disk_format(path):
    """What is really in that file; never for images that a guest could have forged."""
    return qemu_img('info', '-U', '--output=json', path)['format']


def backing_chain(path):
    chain = qemu_img('info', '-U', '--backing-chain', '--output=json', path)
    return [os.path.realpath(image['filename']) for image in chain]


# A guest's hardware

@dataclasses.dataclass
class Disk:
    """A disk, and how the guest and QEMU's command line see it.

    frontend: virtio, virtio-mmio, scsi, ide, nvme; hda for "-hda"
    style: drive, drive-if ("-drive if=virtio"), blockdev, blockdev-json, blockdev-nested
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
        if self.style == 'blockdev-json':
            return ['-blockdev', json.dumps({'driver': 'file', 'node-name': f'file{index}', 'filename': self.path}),
                    '-blockdev', json.dumps({'driver': self.format, 'node-name': f'drive{index}', 'file': f'file{index}'})]
        if self.style == 'blockdev-nested':
            return ['-blockdev', f'driver={self.format},node-name=drive{index},file.driver=file,file.filename={self.path}']
        return ['-drive', f'if=none,id=drive{index},file={self.path},format={self.format}{self.options}']

    def _device(self, index):
        common = f'drive=drive{index},id=disk{index}'
        return {
            'virtio': ['-device', f'virtio-blk-pci,{common},serial=qsnap{index}'],
            'virtio-mmio': ['-device', f'virtio-blk-device,{common},serial=qsnap{index}'],
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


def host_khz():
    """What a guest under TCG sees as its TSC's frequency."""
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        return int(float(next(line.split(':')[1] for line in file if line.startswith('cpu MHz'))) * 1000)


@dataclasses.dataclass
class Hardware:
    """All that makes up a guest, so that a twin of it can be built."""
    version: str
    disks: list = dataclasses.field(default_factory=list)
    machine: str = 'q35'
    memory: str = 'plain'            # of MEMORY, or what -m takes
    smp: int = 2
    debug_threads: bool = True
    no_reboot: bool = False
    efi_variables: str = None        # path of the NVRAM: boots through OVMF
    efi_variables_format: str = 'raw'
    file_system: str = None          # image of an ext4 that the guest mounts; it has qemu-ga then, at IMAGE.agent
    file_names: dict = dataclasses.field(default_factory=dict)  # of RunningQemu, where a chardev has another name
    extra: list = dataclasses.field(default_factory=list)

    def kernel_arguments(self):
        """microvm has no clock of which a busy host leaves enough to measure the TSC with."""
        given = f'{KERNEL_ARGUMENTS} qsnap.disks={len(self.disks)}'
        return f'{given} tsc_early_khz={host_khz()}' if self.machine.startswith('microvm') else given

    def second_port(self, chardev):
        """microvm has one serial port of its own only."""
        if self.machine.startswith('microvm'):
            return ['-device', f'isa-serial,chardev={chardev},index=1']
        return ['-serial', f'chardev:{chardev}']

    def initrd(self):
        return 'initrd-agent' if self.file_system else 'initrd'

    def agent_arguments(self):
        return ['-drive', f'if=none,id=file-system,file={self.file_system},format=raw',
                '-device', 'virtio-blk-pci,drive=file-system,serial=qsnap-fs', '-device', 'virtio-serial-pci',
                '-chardev', f'socket,id=agent,path={self.file_system}.agent,server=on,wait=off',
                '-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0']

    def arguments(self):
        command = ['-no-user-config', '-nodefaults', '-display', 'none',
                   '-machine', f'{self.machine},accel=tcg', '-smp', str(self.smp), *MEMORY.get(self.memory, ['-m', self.memory]),
                   '-name', 'guest=qsnap-test' + (',debug-threads=on' if self.debug_threads else ''),
                   '-kernel', os.path.join(guest_folder(), 'vmlinuz'), '-initrd', os.path.join(guest_folder(), self.initrd()),
                   '-append', self.kernel_arguments()]
        if self.efi_variables:
            command += ['-drive', f'if=pflash,unit=0,readonly=on,format=raw,file={OVMF_CODE}',
                        '-drive', f'if=pflash,unit=1,format={self.efi_variables_format},file={self.efi_variables}']
        for index, disk in enumerate(self.disks):
            command += disk.arguments(index)
        if self.file_system:
            command += self.agent_arguments()
        if self.no_reboot:
            command.append('-no-reboot')
        return command + self.extra


# A running QEMU

class Qemu(RunningQemu):
    """Our own child, in a folder of its own."""

    def __init__(self, hardware, incoming=None, incoming_fd=None):
        folder = processes.temporary_folder()
        self.process = self._start(hardware, folder, incoming, incoming_fd)
        super().__init__(hardware, folder)

    def _start(self, hardware, folder, incoming, incoming_fd):
        command = [qemu_binary(hardware.version), *hardware.arguments(),
                   *self._monitor('library', folder), *self._monitor('harness', folder),
                   '-chardev', f'file,id=console,path={folder}/console.log', '-serial', 'chardev:console',
                   '-chardev', f'socket,id=channel,path={folder}/channel.sock,server=on,wait=off',
                   *hardware.second_port('channel')]
        if incoming:
            command += ['-incoming', incoming]
        with open(f'{folder}/qemu.log', 'wb') as log:
            return processes.start(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   pass_fds=[incoming_fd] if incoming_fd is not None else [])

    @staticmethod
    def _monitor(name, folder):
        return ['-chardev', f'socket,id={name},path={folder}/{name}.sock,server=on,wait=off',
                '-mon', f'chardev={name},mode=control']

    @property
    def pid(self):
        return self.process.pid

    def wait_exit(self, timeout=60):
        """QEMU's exit status."""
        return self.process.wait(timeout)

    def is_running(self):
        return self.process.poll() is None

    def _end(self):
        processes.kill(self.process)


def boot(hardware):
    return boot_by(lambda: Qemu(hardware))


def boot_by(start):
    """A guest that is ready. QEMU 10.0's emulation stops in the middle of one boot in some hundreds (a processor waits for
    an interrupt that was lost), before libqsnap has touched it: such a guest is started anew, once."""
    qemu = start()
    if qemu.has_stalled():
        print(f'the guest stalls while it boots; another one is started. Its console ends with:\n{qemu.console()[-1000:]}')
        qemu.kill()
        qemu = start()
    return qemu.wait_ready()


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
