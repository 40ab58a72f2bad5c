# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the host says of its processes and its page cache, and what it is."""

import os
import re
import threading

import harness
import processes

TICKS = os.sysconf('SC_CLK_TCK')
INTERVAL = 0.02  # seconds


def read(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        return file.read()


def cpu_seconds(pid):
    """None if it is gone."""
    try:
        fields = read(f'/proc/{pid}/stat').rpartition(')')[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return (int(fields[11]) + int(fields[12])) / TICKS


def children(pid):
    """Of all its threads."""
    found = []
    try:
        for thread in os.listdir(f'/proc/{pid}/task'):
            found += map(int, read(f'/proc/{pid}/task/{thread}/children').split())
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def cache():
    """MiB of the page cache that wait to be written, and all of it."""
    sizes = {name: int(size) / 1024 for name, size in re.findall(r'^(\w+): +(\d+) kB', read('/proc/meminfo'), re.MULTILINE)}
    return sizes['Dirty'] + sizes['Writeback'], sizes['Cached']


class Sampler:
    """Looks every 20 ms, from its construction until end(), at the page cache and at what a process has started."""

    def __init__(self, parent=None):
        self._parent = parent
        self._ending = threading.Event()
        self._before = cache()
        self._most_dirty = 0
        self._helpers = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self):
        """Dirty: what waited to be written at most; left: what still does; cached: how much the cache has grown (MiB).
        helpers: CPU seconds of the processes that it started."""
        self._ending.set()
        self._thread.join()
        dirty, cached = cache()
        return {'dirty': self._most_dirty, 'left': max(0, dirty - self._before[0]), 'cached': cached - self._before[1],
                'helpers': sum(self._helpers.values())}

    def _run(self):
        while not self._ending.wait(INTERVAL):
            self._most_dirty = max(self._most_dirty, cache()[0] - self._before[0])
            for child in children(self._parent) if self._parent else []:
                self._helpers[child] = cpu_seconds(child) or self._helpers.get(child, 0)


# What it is

def cpu_model():
    return re.search(r'^model name\s*: (.*)$', read('/proc/cpuinfo'), re.MULTILINE).group(1)


def file_system(path):
    """The type of what holds that path."""
    return processes.run(['df', '--output=fstype', path]).stdout.split()[-1]


def distribution():
    return re.search(r'^PRETTY_NAME="?([^"\n]*)', read('/etc/os-release'), re.MULTILINE).group(1)


def qemu_version(version):
    try:
        program = harness.qemu_binary(version)
    except harness.Skip:
        return f'no {version}'
    line = processes.run([program, '--version']).stdout.splitlines()[0]
    return line.removeprefix('QEMU emulator version ')


def describe(folder, versions):
    """With the load that it has before anything is measured."""
    mib = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 20
    return {'processor': cpu_model(), 'cores': os.cpu_count(), 'memory': f'{mib} MiB', 'kernel': os.uname().release,
            'distribution': distribution(), 'file system': file_system(folder),
            'huge pages': re.search(r'\[(\w+)\]', read('/sys/kernel/mm/transparent_hugepage/enabled')).group(1),
            'load before': f'{os.getloadavg()[0]:.1f}', 'accelerator': 'TCG', 'QEMU': ', '.join(map(qemu_version, versions))}
