#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""describe-api.py GIR: prints enumerations with their values, error domains, properties and signals, one a line."""

import sys
import xml.etree.ElementTree as xml

CORE = '{http://www.gtk.org/introspection/core/1.0}'
GLIB = '{http://www.gtk.org/introspection/glib/1.0}'
C_IDENTIFIER = '{http://www.gtk.org/introspection/c/1.0}identifier'
C_TYPE = '{http://www.gtk.org/introspection/c/1.0}type'


def type_of(element):
    array = element.find(CORE + 'array')
    if array is not None:
        return f'array of {type_of(array)}'
    return element.find(CORE + 'type').get('name')


def enumerations_in(namespace):
    for enumeration in namespace.iter(CORE + 'enumeration'):
        name, domain = enumeration.get(C_TYPE), enumeration.get(GLIB + 'error-domain')
        if domain:
            yield f'{name} is the error domain {domain}'
        for member in enumeration.iter(CORE + 'member'):
            yield f'{name}: {member.get(C_IDENTIFIER)} = {member.get("value")}, "{member.get(GLIB + "nick")}"'


def properties_of(element, name):
    for entry in element.iter(CORE + 'property'):
        flags = [flag for flag in ('writable', 'construct', 'construct-only') if entry.get(flag) == '1']
        yield f'{name}:{entry.get("name")} is {type_of(entry)}' + ''.join(f', {flag}' for flag in flags)


def signals_of(element, name):
    for entry in element.iter(GLIB + 'signal'):
        parameters = [type_of(parameter) for parameter in entry.iter(CORE + 'parameter')]
        result = type_of(entry.find(CORE + 'return-value'))
        detailed = ', detailed' if entry.get('detailed') == '1' else ''
        yield f'{name}::{entry.get("name")} ({", ".join(parameters)}) returns {result}{detailed}'


def main():
    namespace = xml.parse(sys.argv[1]).getroot().find(CORE + 'namespace')
    lines = list(enumerations_in(namespace))
    for element in namespace.iter(CORE + 'class'):
        name = element.get(C_TYPE)
        lines.append(f'{name} is a {element.get("parent")}')
        lines += properties_of(element, name)
        lines += signals_of(element, name)
    print('\n'.join(lines))


main()
