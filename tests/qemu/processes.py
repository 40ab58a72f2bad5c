# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every process and folder that a test makes, so that none outlives it."""

import atexit
import ctypes
import os
import select
import shutil
import signal
import subprocess
import tempfile

PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_started = []
_folders = []


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start(command, **options):
    """A Popen that dies with this process even if this process is killed. Call it from the main thread: the kernel sends
    the signal when the *thread* that started the child ends."""
    process = subprocess.Popen([str(word) for word in command], preexec_fn=_die_with_parent, **options)
    _started.append(process)
    return process


def kill(process):
    """SIGKILL, by pid: a hung QEMU 7.2 hears nothing else."""
    if process.poll() is None:
        process.kill()
    process.wait()
    if process in _started:
        _started.remove(process)


def run(command, timeout=60):
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def temporary_folder():
    folder = tempfile.mkdtemp(prefix='qsnap-test-')
    _folders.append(folder)
    return folder


class Stranger:
    """A process that is not our child. The descriptor, unlike the pid, cannot come to mean another one."""

    def __init__(self, pid):
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    def command_line(self):
        with open(f'/proc/{self.pid}/cmdline', 'rb') as file:
            return [os.fsdecode(word) for word in file.read().split(b'\0')[:-1]]

    def has_ended(self, timeout=0):
        return bool(select.select([self._pidfd], [], [], timeout)[0])

    def kill(self):
        if not self.has_ended():
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if not self.has_ended(30):
            raise TimeoutError(f'process {self.pid} does not end')

    def close(self):
        os.close(self._pidfd)


def qemus_of(folder):
    """Every QEMU whose command line has something in that folder, ours or not."""
    found = []
    for name in os.listdir('/proc'):
        if not name.isdecimal():
            continue
        try:
            process = Stranger(int(name))
            command_line = process.command_line()
        except (ProcessLookupError, FileNotFoundError):
            continue
        if any('qemu-system' in word for word in command_line) and any(f'{folder}/' in word for word in command_line):
            found.append(process)
        else:
            process.close()
    return found


def savers_of(folder):
    """Every saver that writes into that folder."""
    return _helpers_of(folder, 'qsnap-saver')


def page_servers_of(folder):
    """Every page server of a revert in that folder."""
    return _helpers_of(folder, 'qsnap-page-server')


def _helpers_of(folder, program):
    found = []
    for name in os.listdir('/proc'):
        if not name.isdecimal():
            continue
        try:
            process = Stranger(int(name))
            open_files = [os.readlink(f'/proc/{name}/fd/{fd}') for fd in os.listdir(f'/proc/{name}/fd')]
            is_it = program in process.command_line()[0] if open_files else False
        except (OSError, IndexError):
            continue
        if is_it and any(file == folder or file.startswith(f'{folder}/') for file in open_files):
            found.append(process)
        else:
            process.close()
    return found


def remove_folder(folder):
    """With the QEMUs that a revert has started in it, savers that outlived everybody, and whatever a killed test has left
    mounted."""
    for process in qemus_of(folder) + savers_of(folder):
        process.kill()
        process.close()
    with open('/proc/self/mounts', encoding='utf-8') as mounts:
        left = [line.split()[1] for line in mounts if line.split()[1].startswith(folder + '/')]
    for mount in left:
        subprocess.run(['umount', '-l', mount], check=False)
    shutil.rmtree(folder, ignore_errors=True)
    _folders.remove(folder)


def mount_tmpfs(folder, size):
    """A file system that is full soon. Needs root; false where it cannot be had."""
    os.makedirs(folder, exist_ok=True)
    return subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', folder],
                          stderr=subprocess.DEVNULL, check=False).returncode == 0


MAKE_FILE_SYSTEM = {'btrfs': ['mkfs.btrfs', '--quiet'], 'xfs': ['mkfs.xfs', '-q', '-m', 'reflink=1']}


def mount_cloning(folder, kind='btrfs', size_mib=1024):
    """A file system that clones files, in an image of its own; says why where it cannot be had, else None."""
    image = f'{folder}.{kind}'
    os.makedirs(folder, exist_ok=True)
    with open(image, 'wb') as file:
        file.truncate(size_mib << 20)
    for command in (MAKE_FILE_SYSTEM[kind] + [image], ['mount', '-o', 'loop', image, folder]):
        program = shutil.which(command[0], path=os.environ.get('PATH', '') + ':/usr/sbin:/sbin')
        if program is None:
            return f'no {command[0]} (tests/tools/install-deps)'
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f'{" ".join(command)} failed: {done.stderr.strip()}'
    return None


def forget_all():
    """In a forked child: what is there belongs to the parent."""
    _started.clear()
    _folders.clear()


@atexit.register
def clean_up():
    for process in list(_started):
        kill(process)
    for folder in list(_folders):
        remove_folder(folder)
