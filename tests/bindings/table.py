#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Prints what the last `meson test` said of the scenarios, one column a language: table.py BUILD"""

import json
import os
import re
import sys

LANGUAGES = ('c', 'python', 'gjs', 'vala')


def verdicts(test):
    """Scenario: how it went, in one language."""
    lines = re.findall(r'^(ok|not ok) \d+ (\S+)( # SKIP)?', test['stdout'] or '', re.MULTILINE)
    return {name: '-' if skip else {'ok': 'ok', 'not ok': 'FAIL'}[verdict] for verdict, name, skip in lines}


def main():
    tests = {}
    with open(os.path.join(sys.argv[1], 'meson-logs', 'testlog.json'), encoding='utf-8') as log:
        for line in log:
            test = json.loads(line)
            language = re.search(r'bindings-(\w+)$', test['name'])
            if language:
                tests[language.group(1)] = verdicts(test)
    scenarios = list(dict.fromkeys(name for found in tests.values() for name in found))
    print(f'{"":20}' + ''.join(f'{language:10}' for language in LANGUAGES))
    for name in scenarios:
        print(f'{name:20}' + ''.join(f'{tests.get(language, {}).get(name, "not run"):10}' for language in LANGUAGES))


main()
