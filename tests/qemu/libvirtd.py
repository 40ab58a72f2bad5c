# SPDX-License-Identifier: LGPL-2.1-or-later
"""A libvirtd of a test's own, and guests that it owns. libqsnap and the test have a monitor of them each, beside libvirt's."""

import glob
import os
import pathlib
import shutil
import subprocess

import harness
import processes
from running import StrangersQemu, wait_until

MEMORY_MIB = 512
TIMEOUT = 300  # seconds: virsh may save a guest
NAME = 'qsnap-test'
DRIVERS = '/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so'
MODULES = '/usr/lib/x86_64-linux-gnu/qemu'

# libvirt names the chardevs of a guest's ports itself, and a revert names its files after them.
FILE_NAMES = {'console.log': 'charserial0.log', 'channel.sock': 'charserial1.sock'}

DAEMON_SETTINGS = '''
unix_sock_dir = "{folder}"
unix_sock_group = "root"
auth_unix_rw = "none"
auth_unix_ro = "none"
'''

QEMU_SETTINGS = '''
user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
cgroup_controllers = []
hugetlbfs_mount = []
stdio_handler = "file"
'''

# As root, libvirtd keeps to the host's own folders. In its mount namespace they are others, and empty: it neither sees the
# host's guests and networks nor leaves anything behind. The overlays are for folders that the host lacks, and for the user
# that only the package of the host's own libvirtd makes.
# QEMU 10 looks for modules that it was not given where those of Debian's own QEMU are, and ends when it loads one.
ENTER = '''
folder=$1 libvirtd=$2 modules=$3
mount -t tmpfs tmpfs /run || exit 77
for parent in /etc /var/lib /var/cache /var/log; do
  mkdir -p "/run/upper$parent" "/run/work$parent" &&
    mount -t overlay -o "lowerdir=$parent,upperdir=/run/upper$parent,workdir=/run/work$parent" overlay "$parent" &&
    mkdir -p "$parent/libvirt" &&
    mount -t tmpfs tmpfs "$parent/libvirt" || exit 77
done
set -e
echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin' >>/etc/passwd
echo 'libvirt-qemu:x:64055:' >>/etc/group
cp "$folder/qemu.conf" /etc/libvirt/
[ -z "$modules" ] || mount --bind "$modules" MODULES
exec "$libvirtd" --config "$folder/libvirtd.conf" --pid-file "$folder/libvirtd.pid"
'''.replace('MODULES', MODULES)


class VirshError(Exception):
    """virsh said no."""


def read(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        return file.read()


def program(name):
    path = shutil.which(name, path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin')
    if path is None:
        raise harness.Skip(f'no {name} (tests/tools/install-deps)')
    return path


class Libvirtd:
    """Ends with the test. It looks at its QEMU first, which takes some seconds, when the first domain is defined."""

    def __init__(self, version):
        if os.getuid() != 0:
            raise harness.Skip('a libvirtd of the test\'s own needs root')
        self.version = version
        self.folder = processes.temporary_folder()
        self._virsh = program('virsh')
        self._write('libvirtd.conf', DAEMON_SETTINGS.format(folder=self.folder))
        self._write('qemu.conf', QEMU_SETTINGS)
        self.process = self._start(program('unshare'), program('libvirtd'))
        wait_until(self._is_there, 30, 'libvirtd to be there')

    def _write(self, name, text):
        with open(os.path.join(self.folder, name), 'w', encoding='utf-8') as file:
            file.write(text)

    def _start(self, unshare, libvirtd):
        modules = f'{harness.qemu10_folder()}/root{MODULES}' if self.version == '10.0' else ''
        with open(os.path.join(self.folder, 'libvirtd.log'), 'wb') as log:
            return processes.start([unshare, '--mount', '--propagation', 'slave',
                                    'sh', '-c', ENTER, 'sh', self.folder, libvirtd, modules],
                                   env={**os.environ, 'LIBVIRT_DRIVER_DIR': self._drivers()},
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _drivers(self):
        """Without those of the host's networks and storage, which are none of the test's business."""
        found = glob.glob(DRIVERS)
        if not found:
            raise harness.Skip('no QEMU driver of libvirt (tests/tools/install-deps)')
        folder = os.path.join(self.folder, 'drivers')
        os.mkdir(folder)
        os.symlink(found[0], os.path.join(folder, os.path.basename(found[0])))
        return folder

    def _is_there(self):
        status = self.process.poll()
        if status == 77:
            raise harness.Skip(f'no mount namespace for libvirtd: {self.log()}')
        if status is not None:
            raise RuntimeError(f'libvirtd ended with status {status}: {self.log()}')
        return os.path.exists(os.path.join(self.folder, 'libvirt-sock'))

    def log(self):
        return read(os.path.join(self.folder, 'libvirtd.log')).strip()

    def read(self, path):
        """A file that only libvirtd sees."""
        return read(f'/proc/{self.process.pid}/root{path}')

    def virsh(self, *arguments):
        """What it prints."""
        uri = f'qemu:///system?socket={self.folder}/libvirt-sock'
        done = processes.run([self._virsh, '--quiet', '--connect', uri, *arguments], timeout=TIMEOUT)
        if done.returncode != 0:
            raise VirshError(f'{" ".join(arguments)}: {done.stderr.strip()}\n{self.log()}')
        return done.stdout


class Domain:
    """A guest that is defined there. Each start makes another QEMU of it, on the same files."""

    def __init__(self, libvirtd, disks, memory_mib=MEMORY_MIB):
        self.libvirtd = libvirtd
        self.memory_mib = memory_mib
        self.hardware = harness.Hardware(libvirtd.version, disks, file_names=FILE_NAMES)
        self.folder = processes.temporary_folder()
        path = os.path.join(self.folder, 'domain.xml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(self._xml())
        libvirtd.virsh('define', path)

    def virsh(self, command, *arguments):
        return self.libvirtd.virsh(command, NAME, *arguments)

    def boot(self):
        return harness.boot_by(self._start)

    def _start(self):
        """libvirt hears a moment later that its QEMU was killed, and appends to the console of the boot before."""
        wait_until(lambda: 'shut off' in self.virsh('domstate'), 10, 'the domain to be off')
        pathlib.Path(self._file('console.log')).unlink(missing_ok=True)
        self.virsh('start')
        return ManagedQemu(self)

    def description(self):
        """All that libvirt knows of it."""
        return self.virsh('dumpxml'), self.virsh('domblklist'), self.virsh('domstate')

    # What it is to libvirt

    def _xml(self):
        hardware, guest = self.hardware, harness.guest_folder()
        return f'''<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{NAME}</name>
  <memory unit='MiB'>{self.memory_mib}</memory>
  <vcpu>{hardware.smp}</vcpu>
  <os>
    <type arch='x86_64' machine='{hardware.machine}'>hvm</type>
    <kernel>{guest}/vmlinuz</kernel>
    <initrd>{guest}/initrd</initrd>
    <cmdline>{hardware.kernel_arguments()}</cmdline>
  </os>
  <features><acpi/></features>
  <devices>
    <emulator>{shutil.which(harness.qemu_binary(hardware.version))}</emulator>
    {"".join(map(self._disk_xml, range(len(hardware.disks))))}
    <controller type='usb' model='none'/>
    <serial type='file'><source path='{self._file("console.log")}'/></serial>
    <serial type='unix'><source mode='bind' path='{self._file("channel.sock")}'/></serial>
  </devices>
  <qemu:commandline>{self._monitor_xml("library")}{self._monitor_xml("harness")}</qemu:commandline>
</domain>
'''

    def _file(self, name):
        return os.path.join(self.folder, FILE_NAMES[name])

    def _disk_xml(self, index):
        disk = self.hardware.disks[index]
        return f'''<disk type='file' device='disk'>
      <driver name='qemu' type='{disk.format}'/>
      <source file='{disk.path}'/>
      <target dev='vd{"abcdefgh"[index]}' bus='virtio'/>
      <serial>qsnap{index}</serial>
    </disk>'''

    def _monitor_xml(self, name):
        words = ['-chardev', f'socket,id={name},path={self.folder}/{name}.sock,server=on,wait=off',
                 '-mon', f'chardev={name},mode=control']
        return ''.join(f'<qemu:arg value=\'{word}\'/>' for word in words)


class ManagedQemu(StrangersQemu):
    """What libvirtd has started for a domain."""

    def __init__(self, domain):
        self._libvirtd = domain.libvirtd
        super().__init__(domain.hardware, domain.folder, int(self._libvirtd.read(f'/run/libvirt/qemu/{NAME}.pid')))

    def stderr(self):
        return self._libvirtd.read(f'/var/log/libvirt/qemu/{NAME}.log')
