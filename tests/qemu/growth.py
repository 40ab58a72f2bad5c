# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a process holds, to see that it does not get more."""

import dataclasses
import os
import re

_MAPPING = re.compile(r'([0-9a-f]+)-([0-9a-f]+) (....) ')


@dataclasses.dataclass
class Holdings:
    descriptors: int
    threads: int
    memory_kib: int     # anonymous; of QEMU, what is not the guest's RAM and not translated code
    resident_kib: int

    def __str__(self):
        return (f'{self.descriptors} descriptors, {self.threads} threads, {self.memory_kib} KiB of its own, '
                f'{self.resident_kib} KiB resident')


def _mappings(pid):
    """(begin, end, permissions, KiB that are anonymous)"""
    begin, end, permissions = 0, 0, ''
    with open(f'/proc/{pid}/smaps', encoding='ascii', errors='replace') as file:
        for line in file:
            found = _MAPPING.match(line)
            if found:
                begin, end, permissions = int(found[1], 16), int(found[2], 16), found[3]
            elif line.startswith('Anonymous:'):
                yield begin, end, permissions, int(line.split()[1])


def largest_mapping(pid):
    """(begin, end) of a QEMU's guest RAM; to be asked before a capture splits it."""
    return max(((begin, end) for begin, end, permissions, _ in _mappings(pid) if 'x' not in permissions and 'w' in permissions),
               key=lambda one: one[1] - one[0])


def holdings(pid, ram=(0, 0)):
    """Without the RAM of a guest."""
    with open(f'/proc/{pid}/status', encoding='utf-8', errors='replace') as file:
        status = dict(line.split(':', 1) for line in file)
    memory = sum(kib for begin, end, permissions, kib in _mappings(pid)
                 if 'x' not in permissions and not (begin < ram[1] and end > ram[0]))
    return Holdings(len(os.listdir(f'/proc/{pid}/fd')), int(status['Threads']), memory, int(status['VmRSS'].split()[0]))


def assert_has_not_grown(name, before, after, kib):
    """As many descriptors; no more memory than that."""
    print(f'{name}: {before}; at the end {after}', flush=True)
    assert after.descriptors == before.descriptors, f'{name}: {before.descriptors} descriptors became {after.descriptors}'
    assert after.memory_kib - before.memory_kib < kib, f'{name}: {before.memory_kib} KiB became {after.memory_kib}'
