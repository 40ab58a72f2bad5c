#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-hardening.py COMPILE-COMMANDS FORTIFY-LEVEL LIBRARY PROGRAM...: what makes a fault hard to use is in what was built.
Looks with readelf, and prints TAP. FORTIFY-LEVEL is 0 where meson.build left that to others."""

import json
import re
import subprocess
import sys


def readelf(*arguments):
    return subprocess.run(['readelf', '--wide', *arguments], stdout=subprocess.PIPE, text=True, check=True,
                          env={'LC_ALL': 'C'}).stdout


class Elf:
    def __init__(self, path):
        self.name = path.rsplit('/', 1)[-1]
        segments = re.findall(r'^  ([A-Z_]+) +0x.* ([R ][W ][E ]) 0x', readelf('--segments', path), re.M)
        self.segments = dict(segments)
        self.writable_code = [kind for kind, flags in segments if 'W' in flags and 'E' in flags]
        self.dynamic = readelf('--dynamic', path)
        self.undefined = set(re.findall(r' UND (\w+)', readelf('--dyn-syms', path)))

    def has_flag(self, flag):
        return re.search(rf'\(FLAGS(_1)?\).*\b{flag}\b', self.dynamic) is not None


def checks_of(elf, is_program):
    yield 'is RELRO', 'GNU_RELRO' in elf.segments
    yield 'is bound at once', elf.has_flag('BIND_NOW') or elf.has_flag('NOW')
    yield 'has no executable stack', 'E' not in elf.segments.get('GNU_STACK', 'E')
    yield 'has nothing that is written to and run', not elf.writable_code
    yield 'is not relocated in its code', '(TEXTREL)' not in elf.dynamic and not elf.has_flag('TEXTREL')
    yield 'has stack protectors', '__stack_chk_fail' in elf.undefined
    if is_program:
        yield 'can be anywhere in memory', elf.has_flag('PIE')


def is_fortified(database, level):
    """By how each file was compiled: a helper need not have a call whose check is not done by the compiler already."""
    with open(database, encoding='utf-8') as file:
        commands = [entry['command'] for entry in json.load(file)
                    if re.search(r'(^|/)(libqsnap|examples)/.*\.c$', entry['file'])]
    assert commands
    return all(f'-D_FORTIFY_SOURCE={level} ' in command for command in commands)


def main():
    database, level, *paths = sys.argv[1:]
    elves = [Elf(path) for path in paths]
    results = [(f'{elf.name} {what}', ok) for number, elf in enumerate(elves) for what, ok in checks_of(elf, number > 0)]
    if level != '0':
        results.append(('all of it is fortified', is_fortified(database, level)))
        results.append((f'{elves[0].name} calls the C library with checks',
                        any(re.fullmatch(r'__\w+_chk', name) for name in elves[0].undefined)))
    print(f'1..{len(results)}')
    for number, (what, ok) in enumerate(results, 1):
        print(f'{"ok" if ok else "not ok"} {number} {what}')
    sys.exit(not all(ok for _, ok in results))


main()
