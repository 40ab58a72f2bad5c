# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several guests that talk to each other, captured and brought back as a group."""

import itertools
import json
import os

import harness
import qsnapcmd
from captures import Capturer
from reverts import Reverted, hardware_of
from running import wait_until

NAMES = 'abcd'


def links_of(socket_of, index, number):
    """Guest INDEX of NUMBER: a port to the next one, which connects, and one to the one before. A client's socket is not
    replaced when a guest is brought back, so it has to do without the other end."""
    ports = []
    if index + 1 < number:
        ports.append(f'path={socket_of(index)},server=on,wait=off')
    if index > 0:
        ports.append(f'path={socket_of(index - 1)},reconnect=1')
    arguments = ['-device', 'virtio-serial-pci']
    for place, socket in enumerate(ports):
        arguments += ['-chardev', f'socket,id=peer{place},{socket}',
                      '-device', f'virtserialport,chardev=peer{place},name=qsnap.peer{place}']
    return arguments


def place_of_link(index, number, link):
    """Of the link number LINK, which is between guests LINK and LINK + 1."""
    return 0 if index == link else int(index + 1 < number)


class Group:
    """A chain of guests. Over each of its links a numbered message goes there and back without end."""

    _snapshots = itertools.count(1)  # of all groups of a test

    def __init__(self, run, number, memory='256M'):
        self.run = run
        self.number = number
        self.qemus = [self._boot(index, memory) for index in range(number)]
        self.capturers = [Capturer(run, qemu) for qemu in self.qemus]
        self.begin_to_talk()

    def _boot(self, index, memory):
        disk = harness.Disk(harness.create_disk(self.run.file(f'disk-{NAMES[index]}.raw')))
        extra = links_of(lambda link: self.run.file(f'link{link}'), index, self.number)
        return harness.boot(harness.Hardware(self.run.version, [disk], memory=memory, extra=extra))

    def begin_to_talk(self):
        """A guest whose other end is not connected yet cannot send."""
        for index in range(self.number - 1):
            wait_until(lambda index=index: self._port_is_open(index), 30, 'guests to be connected')
        for index in range(0, self.number, 2):
            self.qemus[index].channel.command('peer-begin')
        wait_until(lambda: all(self.has_talked(index) for index in range(self.number)), 60, 'messages between guests')

    def _port_is_open(self, index):
        return any(one['label'] == 'peer0' and one['frontend-open'] and not one['filename'].startswith('disconnected')
                   for one in self.qemus[index].qmp('query-chardev'))

    def has_talked(self, index):
        return min(numbers(self.qemus[index])['received']) > 20

    def addresses(self):
        return [f'{name}={qemu.qmp_path}' for name, qemu in zip(NAMES, self.qemus)]

    def next_directory(self):
        return self.run.file(f'group{next(self._snapshots)}')

    def start(self, *options):
        directory = self.next_directory()
        return directory, qsnapcmd.Running('snapshot', *self.addresses(), directory, *options)

    def finish(self, started):
        directory, running = started
        return self.take_account(directory, running.finish())

    def take_account(self, directory, summary):
        captured = [capturer.take_account(summary['guests'][name], os.path.join(directory, name))
                    for name, capturer in zip(NAMES, self.capturers)]
        return CapturedGroup(self, directory, summary, captured)

    def capture(self, *options):
        return self.finish(self.start(*options))


class CapturedGroup:
    def __init__(self, group, directory, summary, captured):
        self.group = group
        self.directory = directory
        self.summary = summary
        self.captured = captured
        assert summary['overlap-us'] > 0, summary['overlap-us']

    def describe(self):
        pauses = ' '.join(f'{self.summary["guests"][name]["pause-us"] / 1000:.1f}' for name in sorted(self.summary['guests']))
        return f'{self.group.number} guests: pauses {pauses} ms, first stop to last {self.summary["skew-us"] / 1000:.1f} ms, ' \
            f'still together {self.summary["overlap-us"] / 1000:.1f} ms'

    def revert(self, *options):
        answers = json.loads(qsnapcmd.run('revert', self.directory, '--json', *options))['guests']
        return [Reverted(hardware_of(qemu.hardware, captured, answer['directory'], qemu.version), answer, qemu.boot_id)
                for qemu, captured, answer in zip(self.group.qemus, self.captured, answers, strict=True)]


def numbers(qemu):
    """By link: the last number that was sent, and received."""
    answer = qemu.channel.command('peer')
    return {key: [int(number) for number in answer[key].split(',') if number] for key in ('sent', 'received')}


def too_early(guests):
    """For each link: by how much a guest has received what the other had not sent; 0 if all is well."""
    said = [numbers(guest) for guest in guests]
    ahead = []
    for link in range(len(guests) - 1):
        here, there = place_of_link(link, len(guests), link), place_of_link(link + 1, len(guests), link)
        one, other = said[link], said[link + 1]
        ahead.append(max(one['received'][here] - other['sent'][there], other['received'][there] - one['sent'][here], 0))
    return ahead
