#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""test-symbols.py LIBRARY SONAME HEADER... [--gir GIR]: what the library exports is what the public headers declare and what
the bindings are told of, its soname is the one given, and no struct of the headers has members."""

import argparse
import re
import subprocess
import sys
import xml.etree.ElementTree as xml

IDENTIFIER = '{http://www.gtk.org/introspection/c/1.0}identifier'
GET_TYPE = '{http://www.gtk.org/introspection/glib/1.0}get-type'


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def exported_by(library):
    lines = output_of('nm', '--dynamic', '--defined-only', library).splitlines()
    return {line.split()[-1].split('@')[0] for line in lines}


def soname_of(library):
    return re.search(r'SONAME\S* .*\[(.+)\]', output_of('readelf', '--dynamic', '--wide', library)).group(1)


def text_of(headers):
    text = ''
    for header in headers:
        with open(header, encoding='utf-8') as file:
            text += file.read()
    return re.sub(r'/\*.*?\*/', '', text, flags=re.DOTALL)


def declared_in(text):
    functions = re.findall(r'^QSNAP_(?:AVAILABLE|DEPRECATED)_IN_\w+(?: \(\w+\))?\s+[\w \*]+?\b(\w+) \(', text, re.MULTILINE)
    types = re.findall(r'^G_DECLARE_\w+ \(\w+, (\w+),', text, re.MULTILINE)
    return {name for name in functions if not name.startswith('G_DECLARE')} | {name + '_get_type' for name in types}


def known_to(gir):
    elements = list(xml.parse(gir).iter())
    callable_tags = ('}function', '}method', '}constructor')
    functions = {element.get(IDENTIFIER) for element in elements if element.tag.endswith(callable_tags)}
    return functions | {element.get(GET_TYPE) for element in elements if element.get(GET_TYPE)}


def differences(names, others, what, other):
    return [f'{name}: {what}, not {other}' for name in sorted(names - others)] \
        + [f'{name}: {other}, not {what}' for name in sorted(others - names)]


def report(number, name, problems):
    print(f'{"not ok" if problems else "ok"} {number} - {name}')
    print(''.join(f'# {problem}\n' for problem in problems), end='', flush=True)
    return bool(problems)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('library')
    parser.add_argument('soname')
    parser.add_argument('headers', nargs='+')
    parser.add_argument('--gir')
    options = parser.parse_args()

    print('1..4')
    text = text_of(options.headers)
    exported = exported_by(options.library)
    soname = soname_of(options.library)
    problems = differences(exported, declared_in(text), 'exported', 'in the headers')
    failed = report(1, 'exported is what the headers declare', problems if exported else ['nothing is exported'])
    if options.gir:
        failed |= report(2, 'exported is what the bindings know',
                         differences(exported, known_to(options.gir), 'exported', 'in the GIR'))
    else:
        print('ok 2 # SKIP no GIR was built')
    failed |= report(3, f'the soname is {options.soname}', [] if soname == options.soname else [f'it is {soname}'])
    failed |= report(4, 'every struct is opaque', re.findall(r'\bstruct\s+\w*\s*\{', text))
    sys.exit(failed)


main()
