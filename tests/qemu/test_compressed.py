# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots whose memory is compressed."""

import os

import qsnapcmd
from captures import Capturer, assert_reverts
from reverts import revert
from runner import test
from test_on_demand import wait_settled


def stored_bytes(directory):
    ram = os.path.join(directory, 'ram')
    return sum(os.stat(os.path.join(ram, name)).st_blocks * 512 for name in os.listdir(ram))


@test(small=1, full=10, timeout=120, small_version='7.2')
def compressed_torture(run):
    """Taken while the guest writes flat out, so that pages come out of order; back by a stock QEMU, by load and on demand."""
    qemu = run.boot(run.disks(2))
    qemu.work_hard(fill_mib=100)
    capturer = Capturer(run, qemu)
    for _ in range(run.count):
        captured = capturer.capture('--compression', 'zstd')
        qemu.assert_alive()
        manifest = qsnapcmd.show(captured.directory)
        data = manifest['guest']['data-size']
        assert sorted(os.listdir(os.path.join(captured.directory, 'ram'))) == ['pc.ram.zst', 'pc.ram.zst.sums'], captured.directory
        qsnapcmd.verify(captured.directory)
        print(f'{data >> 20} MiB of data in {stored_bytes(captured.directory) >> 20} MiB, saved in '
              f'{manifest["timing"]["save-us"] / 1e6:.2f} s')
        assert_reverts(qemu, captured)
        for method in ('load', 'auto'):
            guest = revert(qemu, captured, method=method)
            guest.assert_came_back()
            if method == 'auto':
                assert guest.answer['method'] == 'on-demand', guest.answer
                wait_settled(guest)
            guest.assert_consistent()
            guest.kill()
    qemu.assert_consistent()


@test(timeout=60, small_version='10.0')
def compressed_is_not_mapped(run):
    """It says why; the guest and the snapshot are as they were."""
    qemu = run.boot(run.disks(1))
    captured = Capturer(run, qemu).capture('--compression', 'zstd')
    try:
        revert(qemu, captured, method='map')
    except qsnapcmd.QsnapError as error:
        assert 'cannot be mapped: it is compressed' in error.text, error.text
    else:
        raise AssertionError('it was mapped')
    qsnapcmd.verify(captured.directory)
    qemu.assert_alive()
