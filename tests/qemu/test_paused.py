# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that its owner has paused, while everybody dies in turn in a capture of it: it stays paused.

QEMU 7.2 captures it by a plain migration, which leaves it in "postmigrate" for a moment; 10 by a background snapshot."""

import itertools
import random

from captures import assert_as_it_was, assert_reverts
from runner import test
from test_delete import delete
from test_recover import VICTIMS, Victim

POINTS = {
    'preparing': ['after:add-fd', 'after:blockdev-create', 'after:set-action'],
    'pausing': ['after:journal.json:2', 'before:transaction', 'after:transaction', 'before:migrate', 'after:migrate'],
    'saving': ['before:journal.json:3', 'after:journal.json:3'],
    'settling': ['before:set-action:2', 'after:set-action:2'],
    'sealing': ['after:journal.json:4', 'before:snapshot.json', 'after:snapshot.json'],
}
BEFORE_SAVER = POINTS['preparing'][:2]


class PausedVictim(Victim):
    """Each snapshot that was sealed is deleted again, so that the guest's chain is what it was."""

    def assert_well(self):
        assert self.qemu.status() == 'paused', self.qemu.status()
        self.qemu.assert_stopped(0.2)

    def assert_as_it_was(self, fingerprint):
        """But for descriptors: QEMU closes those that it was told to remove only while the guest runs."""
        now = self.qemu.fingerprint()
        for same in set(fingerprint) - {'fdsets', 'files'}:
            assert now[same] == fingerprint[same], (same, fingerprint[same], now[same])

    def delete(self, captured):
        delete(captured.directory, self.qemu.qmp_path)
        self.capturer.disk_files = captured.bases
        self.assert_well()

    def capture(self):
        captured = self.capturer.capture()
        self.assert_well()
        return captured

    def assert_goes_on(self, fingerprint):
        """When a client leaves, QEMU closes what it had kept."""
        self.qemu.qmp('cont')
        self.qemu.second_monitor().close()
        self.qemu.assert_alive()
        self.qemu.assert_consistent()
        assert_as_it_was(self.qemu, fingerprint)


def chosen(count):
    """All, or some of each phase."""
    everything = [(phase, point, victims) for (phase, points), victims in itertools.product(POINTS.items(), VICTIMS)
                  for point in points if 'saver' not in victims or point not in BEFORE_SAVER]
    if count >= len(everything):
        return everything
    return [random.choice([one for one in everything if one[0] == phase])
            for phase in itertools.islice(itertools.cycle(['saving', 'pausing', 'settling', 'sealing', 'preparing']), count)]


@test(small=4, full=41, timeout=90, shows=True)
def paused_guest_when_everybody_is_killed(run):
    qemu = run.boot(run.disks(2))
    qemu.work_hard(fill_mib=100)
    before = qemu.fingerprint()
    qemu.qmp('stop')
    victim = PausedVictim(run, qemu)
    for number, (phase, point, victims) in enumerate(chosen(run.count)):
        captured = victim.kill(victim.begin(point), victims)
        print(f'{"+".join(victims)} | {phase} | {point} | {run.version} | {"sealed" if captured else "undone"}', flush=True)
        if captured:
            victim.delete(captured)
        assert qemu.block_graph() == before['blocks']
        if number % 8 == 7:
            victim.assert_goes_on(before)
            qemu.qmp('stop')
    captured = victim.capture()
    assert_reverts(qemu, captured)
    victim.delete(captured)
    victim.assert_goes_on(before)
