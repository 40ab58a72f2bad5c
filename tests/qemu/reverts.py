# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reverts by the qsnap command: guests that are nobody's children, in the directories it made for them."""

import copy
import hashlib
import os
import shutil

import harness
import processes
import qsnapcmd
from captures import base_of, source_of
from running import StrangersQemu, wait_until


class Reverted(StrangersQemu):
    """A guest that qsnap has started again."""

    def __init__(self, hardware, answer, boot_id):
        self.answer = answer
        super().__init__(hardware, answer['directory'], answer['pid'])
        command_line = self.process.command_line()
        assert any(f'{self.folder}/qsnap.sock' in word for word in command_line), command_line
        self.boot_id = boot_id

    @property
    def address(self):
        """The library's own monitor."""
        return self.answer['address']

    @property
    def method(self):
        return self.answer['method']

    def resident_mib(self):
        """(Rss, Pss): all the host memory it has, and its share of it."""
        with open(f'/proc/{self.pid}/smaps_rollup', encoding='ascii') as file:
            sizes = {line.split()[0]: int(line.split()[1]) >> 10 for line in file if line.startswith(('Rss:', 'Pss:'))}
        return sizes['Rss:'], sizes['Pss:']

    def assert_came_back(self):
        """Disk and RAM are of one instant, and what came back works, on its own disks."""
        self.assert_consistent()
        self.assert_alive()
        expected = [os.path.realpath(path) for path in self.all_disks()]
        assert sorted(map(os.path.realpath, self.disk_files())) == sorted(expected), (self.disk_files(), expected)
        return self

    def all_disks(self):
        variables = self.hardware.efi_variables
        return [disk.path for disk in self.hardware.disks] + ([variables] if variables else [])


# Which QEMU

def program(version):
    return shutil.which(harness.qemu_binary(version))


def other_version(version):
    return {'7.2': '10.0', '10.0': '7.2'}[version]


# Reverts

def hardware_of(hardware, captured, directory, version):
    """Disk number N of the manifest is DIRECTORY/diskN.qcow2."""
    numbers = {source_of(disk): number for number, disk in enumerate(captured.summary['disks'])}

    def overlay(source):
        return os.path.join(directory, f'disk{numbers[os.path.realpath(source)]}.qcow2')
    reverted = copy.deepcopy(hardware)
    reverted.version = version
    for disk, source in zip(reverted.disks, captured.sources, strict=True):
        disk.path, disk.format = overlay(source), 'qcow2'
    if captured.efi_variables:
        reverted.efi_variables, reverted.efi_variables_format = overlay(captured.efi_variables), 'qcow2'
    return reverted


def revert(qemu, captured, *options, method=None, version=None, qemu_command=None):
    """The guest that was captured of that QEMU, on a QEMU of that version."""
    version = version or qemu.version
    if version != qemu.version:
        options = *options, '--program', program(version)
    answer = qsnapcmd.revert(captured.directory, *_method(method), *options, qemu_command=qemu_command)
    return Reverted(hardware_of(qemu.hardware, captured, answer['directory'], version), answer, qemu.boot_id)


def clone(qemu, captured, number, *options, method=None):
    answers = qsnapcmd.clone(captured.directory, number, *_method(method), *options)
    assert len(answers) == number, answers
    return [Reverted(hardware_of(qemu.hardware, captured, answer['directory'], qemu.version), answer, qemu.boot_id)
            for answer in answers]


def _method(method):
    return ['--method', method] if method else []


def assert_reverts_to(qemu, captured, method, expected=None, version=None):
    reverted = revert(qemu, captured, method=method, version=version)
    assert reverted.method == (expected or method), reverted.answer
    reverted.assert_came_back()
    print(f'{method} on {reverted.version}: start {reverted.answer["start-us"]} us, load {reverted.answer["load-us"]} us')
    reverted.kill()


def assert_whole(qemu, captured):
    """The guest of it comes back, and disk and RAM are of one instant; nothing of the revert is left."""
    qsnapcmd.verify(captured.directory)
    reverted = revert(qemu, captured)
    reverted.assert_came_back()
    reverted.kill()
    shutil.rmtree(reverted.folder)


# What a revert must leave as it was

def _trace(path):
    if not os.path.exists(path):
        return None
    status = os.stat(path)
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_blocks, status.st_mode, status.st_uid


def _sha256(path):
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def files_of(captured):
    bases = [base_of(disk, captured.directory) for disk in captured.summary['disks'] if base_of(disk, captured.directory)]
    return [os.path.join(folder, name) for folder, _, names in os.walk(captured.directory) for name in sorted(names)] + bases


def traces(captured):
    """Cheap: what any write leaves."""
    return {path: _trace(path) for path in files_of(captured)}


def fingerprint_of(path):
    """Every byte."""
    return _trace(path), _sha256(path)


def fingerprint(captured):
    return {path: fingerprint_of(path) for path in files_of(captured)}


def assert_nothing_left(run, qemu, before_names):
    """No QEMU but the original, no directory of a revert that failed."""
    wait_until(lambda: {process.pid for process in processes.qemus_of(run.folder)} <= {qemu.pid}, 10, 'QEMUs to be gone')
    assert sorted(os.listdir(run.folder)) == before_names, (before_names, os.listdir(run.folder))
