# SPDX-License-Identifier: LGPL-2.1-or-later
"""The mock as a program: a QEMU with a running guest, for programs in any language."""

import os
import signal
import socket
import subprocess
import time

TIMEOUT = 240


def disk_arguments(folder):
    path = os.path.join(folder, 'a.raw')
    with open(path, 'wb') as file:
        file.truncate(1 << 20)
    return ['-drive', f'file={path},format=raw,if=none,id=virtio0', '-device', 'virtio-blk-pci,drive=virtio0']


class Mock:
    """A running guest with 1 MiB of RAM and, unless told otherwise, a disk."""

    def __init__(self, folder, fault='', disk=True):
        self.report_path = os.path.join(folder, 'report')
        self.path = os.path.join(folder, 'qmp.sock')
        command = [os.environ['QSNAP_MOCK_QEMU'], '-name', 'mock-guest', '-machine', 'q35,accel=tcg,memory-backend=pc.ram',
                   '-m', '1M', '-object', f'memory-backend-ram,id=pc.ram,size={1 << 20}',
                   '-chardev', f'socket,id=qsnap-monitor,path={self.path},server=on,wait=off',
                   '-mon', 'chardev=qsnap-monitor,mode=control', '-display', 'none', *(disk_arguments(folder) if disk else [])]
        self.address = f'unix:{self.path}'
        self.environment = dict(os.environ, QSNAP_MOCK_VERSION='10.0', QSNAP_MOCK_REPORT=self.report_path)
        with open(os.path.join(folder, 'log'), 'wb') as log:
            self.process = subprocess.Popen(command, env=dict(self.environment, QSNAP_MOCK_FAULT=fault),
                                            stdout=log, stderr=log)
        end = time.monotonic() + TIMEOUT
        while not self._listens() and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)

    def _listens(self):
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(self.path) == 0

    def report(self, key):
        """(process, value) of each line."""
        with open(self.report_path, encoding='utf-8') as file:
            lines = [line.rstrip('\n').split(' ', 2) for line in file]
        return [(int(line[0]), line[2]) for line in lines if line[1] == key]

    @staticmethod
    def end(pid):
        """A guest that was brought back; it is nobody's child here."""
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + TIMEOUT
        while is_mock(pid) and time.monotonic() < end:
            time.sleep(0.002)

    def stop(self):
        """What is wrong, if it is."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(TIMEOUT)
        ours = [pid for pid, kind in self.report('start') if kind == 'guest' and is_mock(pid)]
        for pid in ours:
            os.kill(pid, signal.SIGKILL)
        return [f'{pid} is left behind' for pid in ours] + [f'complaint: {text}' for _, text in self.report('complaint')]


def is_mock(pid):
    try:
        return os.readlink(f'/proc/{pid}/exe') == os.path.realpath(os.environ['QSNAP_MOCK_QEMU'])
    except OSError:
        return False
