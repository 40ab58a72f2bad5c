# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that are measured, and what is seen of one while a snapshot of it is taken."""

import json
import os
import shutil
import subprocess
import threading
import time

import processes
import qsnapcmd
from ticks import TickWatch

FILLED = 0.7    # of the guest's memory
KEPT_FREE = 96  # MiB of a small guest, for its kernel
PATIENCE = 900  # seconds


def boot(run, mib, filled=True, dirty='0', **options):
    """A guest with that much memory, of which 70 % was written to, or nothing but what its kernel needs."""
    qemu = run.boot(memory=f'{mib}M', **options)
    return settle(qemu, mib, filled, dirty)


def settle(qemu, mib, filled=True, dirty='0'):
    if filled:
        qemu.guest(f'fill {min(int(mib * FILLED), mib - KEPT_FREE)}', timeout=PATIENCE)
    qemu.guest(f'dirty {dirty}')
    time.sleep(0.5)
    return qemu


class Watch:
    """What QEMU's events and the guest's ticks say of a snapshot, from its construction until end()."""

    def __init__(self, qemu):
        self._qemu = qemu
        self._ticks = TickWatch(qemu)
        qemu.guest('gap')
        self._mark = qemu.monitor.mark()
        self.start = time.time()

    def end(self, end=None):
        """In ms. gap: the guest's longest time without a tick by the host's clock; own: by its own clock, which stands still
        while it is stopped; late: from the call to the moment that was captured; sealed: until all was done."""
        end = end or time.time()
        own = self._qemu.guest('gap')['maxgap'] / 1000  # it has answered: it ticks again
        gap = self._ticks.end()[0]
        stopped, resumed = self._longest_stop()
        return {'pause': (resumed - stopped) * 1000, 'gap': gap, 'own': own,
                'late': (stopped - self.start) * 1000, 'sealed': (end - self.start) * 1000}

    def events(self, name, **data):
        return [event.time for event in self._qemu.monitor.events[self._mark:]
                if event.name == name and data.items() <= event.data.items()]

    def _longest_stop(self):
        self._qemu.status()  # so that all events are there
        stops = [(stopped, resumed) for stopped in self.events('STOP')
                 if (resumed := min((time for time in self.events('RESUME') if time >= stopped), default=None))]
        return max(stops, key=lambda stop: stop[1] - stop[0])


class Call:
    """A `qsnap snapshot` under way: what it says, when, and the processor time that it and its saver took."""

    def __init__(self, qemu, directory, options=()):
        self._start = time.time()
        self._process = processes.start([qsnapcmd.command(), 'snapshot', qemu.qmp_path, directory, '--json', *options],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._told = None
        self._complaints = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    @property
    def pid(self):
        return self._process.pid

    def _listen(self):
        for line in self._process.stderr:
            if line.startswith('point in time reached'):
                self._told = time.time()
            else:
                self._complaints.append(line)

    def finish(self):
        """(the manifest, ms from the call until it told the point in time, CPU seconds)"""
        alarm = threading.Timer(PATIENCE, self._process.kill)
        alarm.start()
        output = self._process.stdout.read()
        status, usage = os.wait4(self._process.pid, 0)[1:]
        alarm.cancel()
        self._process.returncode = os.waitstatus_to_exitcode(status)
        processes.kill(self._process)
        self._listener.join(10)
        if self._process.returncode != 0:
            raise qsnapcmd.QsnapError(self._process.returncode, ''.join(self._complaints))
        return json.loads(output), (self._told - self._start) * 1000, usage.ru_utime + usage.ru_stime


def capture(qemu, directory, options=()):
    """Numbers of one capture by the library; the snapshot is thrown away. QEMU's own share of the pause is what it calls
    downtime, the stop and the transaction."""
    watch = Watch(qemu)
    manifest, told, _ = Call(qemu, directory, options).finish()
    numbers = watch.end()
    shutil.rmtree(directory)
    timing = manifest['timing']
    phases = {name: timing[f'{name}-us'] / 1000 for name in ('stop', 'disks', 'memory', 'resume')}
    downtime = qemu.migration()['downtime']
    share = downtime + phases['stop'] + phases['disks']
    return {**numbers, 'told': told, 'downtime': downtime, **phases, 'added': numbers['pause'] - share}
