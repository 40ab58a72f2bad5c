#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-qsnap-paper.py QSNAP MAN-PAGE COMPLETION: the man page and the completion have every command and option of qsnap."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

# Sources the completion and calls it as bash would, for the command line that is typed.
COMPLETE = r'''
source "$1"
shift
COMP_LINE="$1" COMP_POINT=${#1}
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_qsnap
printf '%s\n' "${COMPREPLY[@]}"
'''

# Those of the options that take one of a few words; the command names these when it is given another.
ENUMERATED = ['--mode', '--fallback', '--disk-mode', '--leave']


class Paper:
    def __init__(self, command, man_page, completion):
        self.command = command
        self.man_page = man_page
        self.completion = completion
        self.help = self.run(['--help']).stdout
        with open(man_page, encoding='utf-8') as file:
            self.man = file.read().replace('\\-', '-')

    def run(self, arguments):
        return subprocess.run([self.command] + arguments, capture_output=True, text=True, timeout=60, check=False)

    def options(self):
        return re.findall(r'^  (?:-\w, )?(--[a-z-]+)', self.help, re.MULTILINE)

    def short_options(self):
        return re.findall(r'^  (-\w), --', self.help, re.MULTILINE)

    def commands(self):
        return re.findall(r'^  ([a-z]+) ', self.help.split('Commands:')[1], re.MULTILINE)

    def values(self, option):
        complaint = self.run(['check', '/nowhere', '/nowhere/x', option, 'bogus']).stderr
        return re.search(r'is none of (.*)', complaint).group(1).split(', ')

    def complete(self, line):
        """The words that are offered for @line, whose end is what is completed. Bash ends words at = and :, too."""
        words = re.findall(r'[=:]+|[^\s=:]+', line) + ([''] if line[-1].isspace() else [])
        shell = subprocess.run(['bash', '-c', COMPLETE, 'bash', self.completion, line] + words, capture_output=True,
                               text=True, timeout=60, check=True)
        if shell.stderr:
            raise AssertionError(shell.stderr)
        return shell.stdout.split()


def same(found, expected):
    if sorted(found) != sorted(expected):
        raise AssertionError(f'{sorted(found)} is not {sorted(expected)}')


def has_all(found, expected):
    missing = [word for word in expected if word not in found]
    if missing:
        raise AssertionError(f'missing: {missing}')


def man_has_options(paper):
    has_all(set(re.findall(r'--?[a-z][a-z-]*', paper.man)), paper.options() + paper.short_options())


def man_has_commands(paper):
    has_all(re.findall(r'^\.BI "([a-z]+) ', paper.man, re.MULTILINE), paper.commands())


def man_has_values(paper):
    for option in ENUMERATED:
        has_all(re.findall(r'[a-z-]+', paper.man), paper.values(option))


def man_has_no_other_options(paper):
    has_all(paper.options(), re.findall(r'^\.BI? .*?(--[a-z-]+)=', paper.man, re.MULTILINE))


def man_is_clean(paper):
    if shutil.which('groff'):
        complaints = subprocess.run(['groff', '-man', '-ww', '-z', paper.man_page], capture_output=True, text=True,
                                    timeout=60, check=True).stderr
        same(complaints.splitlines(), [])


def completes_commands(paper):
    same(paper.complete('qsnap '), paper.commands())
    same(paper.complete('qsnap sn'), ['snapshot'])
    same(paper.complete('qsnap --json li'), ['list'])


def completes_options(paper):
    same(paper.complete('qsnap -'), paper.options())
    has_all(paper.complete('qsnap snapshot --'), ['--mode', '--json'])
    same(paper.complete('qsnap clone --num'), ['--number'])
    same(paper.complete('qsnap list --num'), [])


def completes_values(paper):
    for option in ENUMERATED:
        same(paper.complete(f'qsnap snapshot {option} '), paper.values(option))
        same(paper.complete(f'qsnap snapshot {option}='), paper.values(option))
    same(paper.complete('qsnap snapshot --leave=pa'), ['paused'])
    same(paper.complete('qsnap revert -m on'), ['on-demand'])


def completes_disks(paper):
    same(paper.complete('qsnap snapshot --disk vda='), paper.values('--disk-mode'))
    same(paper.complete('qsnap snapshot --disk=vda=cl'), ['clone'])
    same(paper.complete('qsnap snapshot --disk vda=copy:'), ['file=', 'reuse', 'sync=', 'target='])
    same(paper.complete('qsnap snapshot --disk vda=copy:sync='), ['full', 'top'])
    same(paper.complete('qsnap snapshot --disk vda=copy:sync=full:fi'), ['file='])


def completes_files(paper):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'guest.qmp')
        with open(path, 'w', encoding='utf-8'):
            pass
        for begin in ['check ', 'snapshot --quiesce ', 'snapshot --quiesce=', 'snapshot --disk vda=copy:file=',
                      'revert x -- ', 'import x virtio0=']:
            same(paper.complete(f'qsnap {begin}{folder}/gu'), [path])


TESTS = [man_has_options, man_has_commands, man_has_values, man_has_no_other_options, man_is_clean, completes_commands,
         completes_options, completes_values, completes_disks, completes_files]


def main():
    paper = Paper(*sys.argv[1:])
    print(f'1..{len(TESTS)}')
    for number, test in enumerate(TESTS, 1):
        try:
            test(paper)
            print(f'ok {number} {test.__name__}')
        except (AssertionError, subprocess.SubprocessError) as error:
            print(f'not ok {number} {test.__name__}')
            print(f'# {error}')


if __name__ == '__main__':
    main()
