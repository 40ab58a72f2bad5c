# SPDX-License-Identifier: LGPL-2.1-or-later
"""A proxy between qsnap and a QEMU's monitor, that lets one thing go wrong.

qsnap would take the proxy's process for QEMU's, and the pipe by which it tells would say that it is not: there would be no
gate on 7.2. interpose.c, loaded into qsnap, lets it see QEMU's process behind the proxy."""

import array
import contextlib
import functools
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import harness
import processes
import qmp
import qsnapcmd

INJECTED = 'injected by the test'
NOTICE = 0.1  # seconds; for a signal to be noticed before the answer

ERROR, NO_REPLY, GONE_BEFORE, GONE_AFTER = 'error', 'no reply', 'gone before', 'gone after'
CANCEL, CANCEL_TWICE = 'cancel', 'cancel twice'
FAULTS = (ERROR, NO_REPLY, GONE_BEFORE, GONE_AFTER, CANCEL, CANCEL_TWICE)


class Proxy:
    """One client at a time, as QEMU's own chardev; one that comes back gets a new connection."""

    def __init__(self, path, monitor_path):
        self.path = path
        self._monitor_path = monitor_path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self.reset()
        threading.Thread(target=self._serve, daemon=True).start()

    def reset(self, command=None, nth=0, fault=None):
        """For the next capture. A fault that is a function is called, and the command is passed on after it."""
        self.commands = []
        self.time_of_fault = None
        self._target = (command, nth)
        self._fault = fault

    def fault_of(self, command):
        """What is to happen at this command, the next of the capture."""
        self.commands.append(command)
        if self.time_of_fault or (command, self.commands.count(command)) != self._target:
            return None
        self.time_of_fault = time.monotonic()
        return self._fault

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                with client, contextlib.suppress(OSError), qmp.connect_unix(self._monitor_path, 5) as monitor:
                    _Connection(self, client, monitor).run()


class _Dropped(Exception):
    """The connection is over."""


class _Connection:
    """Whole lines, both ways."""

    def __init__(self, proxy, client, monitor):
        self._proxy = proxy
        self._client = client
        self._monitor = monitor
        self._commands = b''
        self._answers = b''
        self._descriptors = []
        self._fault_of_id = {}

    def run(self):
        try:
            while True:
                ready = select.select([self._client, self._monitor], [], [])[0]
                if self._monitor in ready:
                    self._read_answers()
                if self._client in ready:
                    self._read_commands()
        except (_Dropped, ConnectionError):
            pass
        finally:
            self._close_descriptors()

    def _read_commands(self):
        data, ancillary, _, _ = self._client.recvmsg(1 << 16, socket.CMSG_SPACE(16 * struct.calcsize('i')))
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array('i')
                numbers.frombytes(content[:len(content) // numbers.itemsize * numbers.itemsize])
                self._descriptors += numbers
        if not data:
            raise _Dropped
        *lines, self._commands = (self._commands + data).split(b'\n')
        for line in lines:
            self._take_command(line + b'\n')

    def _take_command(self, line):
        """qsnap sends no command beside one that has descriptors, so that all there are belong to this one."""
        message = json.loads(line)
        fault = self._proxy.fault_of(message['execute'])
        if fault == GONE_BEFORE:
            raise _Dropped
        if fault == ERROR:
            error = {'error': {'class': 'GenericError', 'desc': INJECTED}, 'id': message.get('id')}
            self._client.sendall(json.dumps(error).encode() + b'\r\n')
            self._close_descriptors()
            return
        if fault in (CANCEL, CANCEL_TWICE):
            self._interrupt()
        elif callable(fault):
            fault()
        if fault:
            self._fault_of_id[message.get('id')] = fault
        sent = socket.send_fds(self._monitor, [line], self._descriptors) if self._descriptors else 0
        self._monitor.sendall(line[sent:])
        self._close_descriptors()

    def _read_answers(self):
        data = self._monitor.recv(1 << 16)
        if not data:
            raise _Dropped
        *lines, self._answers = (self._answers + data).split(b'\n')
        for line in lines:
            self._take_answer(line + b'\n')

    def _take_answer(self, line):
        message = json.loads(line)
        fault = self._fault_of_id.pop(message['id'], None) if 'id' in message else None
        if fault == GONE_AFTER:
            raise _Dropped
        if fault == CANCEL_TWICE:
            self._interrupt()
        if fault != NO_REPLY:
            self._client.sendall(line)

    def _interrupt(self):
        credentials = self._client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize('3i'))
        os.kill(struct.unpack('3i', credentials)[0], signal.SIGINT)
        time.sleep(NOTICE)

    def _close_descriptors(self):
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []


# qsnap behind it

@functools.cache
def interposer():
    """interpose.c, built; None where there is no compiler."""
    compiler = shutil.which('gcc') or shutil.which('cc')
    if compiler is None:
        return None
    library = os.path.join(processes.temporary_folder(), 'interpose.so')
    subprocess.run([compiler, '-shared', '-fPIC', '-o', library, os.path.join(harness.HERE, 'interpose.c'), '-ldl'], check=True)
    return library


class MarkedCapture(qsnapcmd.RunningSnapshot):
    """A capture whose processes are found again by a word in their environment, which the saver inherits."""

    def __init__(self, qemu, address, directory, *options, **variables):
        self._mark = f'QSNAP_TEST_MARK={directory}'.encode()
        environment = dict(os.environ, QSNAP_TEST_MARK=directory, QSNAP_TEST_PEER=str(qemu.pid), **variables)
        if interposer():
            environment['LD_PRELOAD'] = interposer()
        super().__init__(address, directory, *options, env=environment)

    def savers(self):
        """Ids of the capture's processes other than qsnap itself."""
        found = []
        for name in os.listdir('/proc'):
            if name.isdecimal() and int(name) != self.pid:
                with contextlib.suppress(OSError), open(f'/proc/{name}/environ', 'rb') as file:
                    if self._mark in file.read().split(b'\0'):
                        found.append(int(name))
        return found


def merge_back(qemu, summary):
    """The guest on the images that it had before a capture that has succeeded, by QEMU's own means."""
    for disk in summary['disks']:
        overlay, job = disk['overlay'], f'back-{disk["overlay"]["node"]}'
        mark = qemu.monitor.mark()
        qemu.qmp('block-commit', job_id=job, device=overlay['node'], base_node=disk['node'])
        qemu.monitor.wait_event('BLOCK_JOB_READY', mark, device=job)
        qemu.qmp('job-complete', id=job)
        qemu.monitor.wait_event('BLOCK_JOB_COMPLETED', mark, device=job)
        for node in (overlay['node'], f'{overlay["node"]}-file'):
            with contextlib.suppress(qmp.QmpError):  # it may have gone with the job
                qemu.qmp('blockdev-del', node_name=node)
        for one in qemu.qmp('query-fdsets'):
            if any(fd.get('opaque') == overlay['file'] for fd in one['fds']):
                qemu.qmp('remove-fd', fdset_id=one['fdset-id'])
        os.unlink(overlay['file'])


# File systems without room

def make_room(folder, size):
    """Of a tmpfs."""
    subprocess.run(['mount', '-o', f'remount,size={size}', folder], check=True)


def leave_no_room(folder):
    """As if somebody else had taken what was left. QEMU may take some of it meanwhile, and a tmpfs cannot get smaller than
    what is in it; of size 0 it would be without a limit."""
    def has_shrunk():
        space = os.statvfs(folder)
        size = max(1, space.f_blocks - space.f_bfree) * space.f_frsize
        return subprocess.run(['mount', '-o', f'remount,size={size}', folder], stderr=subprocess.DEVNULL,
                              check=False).returncode == 0
    harness.wait_until(has_shrunk, 10, 'a file system to be full', interval=0)
