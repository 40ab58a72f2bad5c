#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guest's ticks by the host's clock. The guest's own clock stands still while the guest is stopped, so it does not see a
pause; and whoever looks may disturb neither the guest nor QEMU. So a process of its own reads the counter in QEMU's memory.

    ticks.py PID ADDRESS     until its input ends; then it prints the longest time without a tick in ms, and the ticks
"""

import os
import select
import subprocess
import sys
import time

INTERVAL = 0.0003  # seconds


class TickWatch:
    """From its construction until end()."""

    def __init__(self, qemu):
        self._qemu = qemu
        self._address = host_address(qemu)
        script = os.path.abspath(__file__)
        self._process = subprocess.Popen([sys.executable, script, str(qemu.pid), self._address],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._process.stdout.readline()  # it has begun

    def end(self):
        """(longest gap in ms, ticks); None for both if the guest's kernel has moved the counter meanwhile."""
        output = self._process.communicate(timeout=60)[0].split()
        if len(output) != 2 or host_address(self._qemu) != self._address:
            return None, None
        return float(output[0]), int(output[1])


def host_address(qemu):
    """Of the counter, in QEMU."""
    guest_address = qemu.guest('where')['ticks']
    return qemu.qmp('human-monitor-command', command_line=f'gpa2hva {guest_address:#x}').split()[-1]


def stay_ahead():
    """Where that is allowed: a gap of ours is none of the guest's."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass


def main():
    memory, address = os.open(f'/proc/{sys.argv[1]}/mem', os.O_RDONLY), int(sys.argv[2], 16)

    def count():
        return int.from_bytes(os.pread(memory, 8, address), 'little')

    stay_ahead()
    first = last = count()
    changed, longest = time.monotonic(), 0
    print('watching', flush=True)
    while not select.select([sys.stdin], [], [], INTERVAL)[0]:
        value, now = count(), time.monotonic()
        if value != last:
            longest, last, changed = max(longest, now - changed), value, now
    print(longest * 1000, last - first)


if __name__ == '__main__':
    main()
