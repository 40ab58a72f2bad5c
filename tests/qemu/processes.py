# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every process and folder that a test makes, so that none outlives it."""

import atexit
import ctypes
import os
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


def temporary_folder():
    folder = tempfile.mkdtemp(prefix='qsnap-test-')
    _folders.append(folder)
    return folder


def remove_folder(folder):
    """With whatever a killed test has left mounted in it."""
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
