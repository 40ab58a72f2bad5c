# SPDX-License-Identifier: LGPL-2.1-or-later
"""Manifests as somebody would forge them: with the checksum that belongs to them (docs/file-format.md)."""

import contextlib
import ctypes
import json
import os

import harness

BEFORE_DIGITS = '"checksum" : "'


class _Digest(ctypes.Structure):
    _fields_ = [('low', ctypes.c_uint64), ('high', ctypes.c_uint64)]


def xxh3_128(data):
    try:
        library = ctypes.CDLL('libxxhash.so.0')
    except OSError as error:
        raise harness.Skip(f'no libxxhash: {error}') from None
    library.XXH3_128bits.restype = _Digest
    library.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    digest = library.XXH3_128bits(data, len(data))
    return f'{digest.high:016x}{digest.low:016x}'


def sealed(manifest):
    """The bytes of a manifest whose own checksum is right."""
    text = json.dumps({**manifest, 'checksum': '0' * 32}, indent=2, separators=(',', ' : '))
    start = text.rindex(BEFORE_DIGITS) + len(BEFORE_DIGITS)
    return (text[:start] + xxh3_128(text.encode()) + text[start + 32:]).encode()


@contextlib.contextmanager
def forged(directory, change):
    """The snapshot with a manifest that change() has been at."""
    path = os.path.join(directory, 'snapshot.json')
    with open(path, 'r+b') as file:
        genuine = file.read()
        manifest = json.loads(genuine)
        manifest.pop('checksum')
        change(manifest)
        replace_content(file, sealed(manifest))
        yield
        replace_content(file, genuine)


def replace_content(file, content):
    file.seek(0)
    file.write(content)
    file.truncate()
    file.flush()


@contextlib.contextmanager
def flipped(path, offset):
    """The file with one bit of it wrong, and everything else as it was, its times too."""
    status = os.stat(path)
    with open(path, 'r+b', buffering=0) as file:
        byte = os.pread(file.fileno(), 1, offset)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), offset)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        yield
        os.pwrite(file.fileno(), byte, offset)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextlib.contextmanager
def truncated(path):
    """The file with its last page missing."""
    size = os.stat(path).st_size
    with open(path, 'r+b') as file:
        file.seek(size - 4096)
        last = file.read()
        file.truncate(size - 4096)
        yield
        file.seek(size - 4096)
        file.write(last)


@contextlib.contextmanager
def renamed(path):
    os.rename(path, path + '.away')
    yield
    os.rename(path + '.away', path)


@contextlib.contextmanager
def touched(path):
    status = os.stat(path)
    os.utime(path)
    yield
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextlib.contextmanager
def owned_by(user, folder):
    """The whole folder is that user's."""
    paths = [folder] + [os.path.join(where, name) for where, folders, names in os.walk(folder) for name in folders + names]
    for path in paths:
        os.chown(path, user, -1)
    yield
    for path in paths:
        os.chown(path, os.getuid(), -1)
