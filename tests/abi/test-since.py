#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-since.py GIR VERSION: everything public is documented and says since when it has been there, which is not later than
this version."""

import sys
import xml.etree.ElementTree as xml

CORE = '{http://www.gtk.org/introspection/core/1.0}'
SIGNAL = '{http://www.gtk.org/introspection/glib/1.0}signal'
KINDS = [CORE + kind for kind in ('bitfield', 'callback', 'class', 'constant', 'constructor', 'enumeration', 'function',
                                  'function-macro', 'interface', 'method', 'property')] + [SIGNAL]


def public_in(element, owner=''):
    for child in element:
        name = f'{owner}{child.get("name", "")}'
        if child.tag in KINDS:
            yield name, child
        if child.tag in (CORE + 'namespace', CORE + 'class', CORE + 'enumeration', CORE + 'bitfield', CORE + 'interface'):
            yield from public_in(child, '' if child.tag == CORE + 'namespace' else f'{name}.')


def number_of(version):
    return [int(part) for part in version.split('.')]


def problem_of(element, newest):
    if element.find(CORE + 'doc') is None:
        return 'not documented'
    since = element.get('version')
    if since is None:
        return 'has no Since:'
    return f'since {since}?' if number_of(since) > number_of(newest) else None


def main():
    gir, version = sys.argv[1:]
    print('1..1')
    # Error domains are documented as their macros, which no GIR has.
    public = [(name, element) for name, element in public_in(xml.parse(gir).getroot()) if not name.endswith('quark')]
    problems = [f'{name}: {problem}' for name, element in public if (problem := problem_of(element, version))]
    if len(public) < 200:
        problems.append(f'only {len(public)} were found')
    print(f'{"not ok" if problems else "ok"} 1 - {len(public)} are documented, with Since:')
    print(''.join(f'# {problem}\n' for problem in problems), end='')
    sys.exit(bool(problems))


main()
