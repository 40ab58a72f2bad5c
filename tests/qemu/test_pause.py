# SPDX-License-Identifier: LGPL-2.1-or-later
"""What makes a pause long: huge pages that a capture splits, and gives back; and what the check says of it before."""

import re

import harness
import qsnapcmd
from captures import Capturer
from runner import test

PAGE_CACHE = 100 << 10  # KiB; the guest reads and writes its disk of 64 MiB, and caches it


def ram(qemu):
    """KiB of the guest's RAM that are there, and those of them in huge pages. QEMU keeps RAM from its children (dc)."""
    with open(f'/proc/{qemu.pid}/smaps', encoding='utf-8', errors='replace') as file:
        mappings = re.split(r'\n(?=[0-9a-f]+-[0-9a-f]+ )', file.read())
    resident = huge = 0
    for mapping in mappings:
        fields = dict(re.findall(r'^(\w+): +(.*?)(?: kB)?$', mapping, re.MULTILINE))
        if 'dc' in fields['VmFlags'].split():
            resident, huge = resident + int(fields['Rss']), huge + int(fields['AnonHugePages'])
    return resident, huge


def warnings(qemu, *options):
    return [text for text in qsnapcmd.check(qemu.qmp_path, *options)['warnings'] if 'huge pages' in text]


def boot(run, memory='plain'):
    """A guest that has huge pages; where the host has none, there is nothing to see."""
    qemu = run.boot(memory=memory)
    impossible = warnings(qemu, '--huge-pages')
    if impossible:
        run.skip(impossible[0])
    qemu.work_hard(fill_mib=128)
    resident, huge = ram(qemu)
    if huge < resident * 3 / 4:
        run.skip(f'of {resident} KiB only {huge} are in huge pages to begin with')
    return qemu


@test(small=1, full=5, timeout=90, small_version='10.0')
def huge_pages_come_back(run):
    """A capture splits them; with --huge-pages they are there again, at no cost of memory, under a guest that works."""
    qemu = boot(run, 'numa')
    capturer = Capturer(run, qemu)
    for _ in range(run.count):
        capturer.capture()
        resident, huge = ram(qemu)
        assert huge < resident / 4, f'{huge} of {resident} KiB: it has split nothing'
        captured = capturer.capture('--huge-pages')
        assert not captured.summary['warnings'], captured.summary['warnings']
        grown, huge = ram(qemu)
        assert huge > grown * 3 / 4, f'{huge} of {grown} KiB came back'
        assert grown < resident + PAGE_CACHE, f'{resident} KiB have grown to {grown}'
        qemu.assert_alive()
        qemu.assert_consistent()


def prediction(qemu, *arguments):
    microseconds = qsnapcmd.check(qemu.qmp_path, *arguments)['predicted-pause-us']
    assert microseconds and microseconds > 0, microseconds
    return microseconds


@test(timeout=90, small_version='7.2')
def the_check_predicts_the_pause(run):
    """Longer when the huge pages are split, and as before when they are back; from a capture that it finds beside."""
    qemu = boot(run)
    capturer = Capturer(run, qemu)
    first = prediction(qemu)
    measured = capturer.capture().summary['timing']['pause-us']
    split = prediction(qemu)
    assert split > first, (split, first)
    # The guest may have taken some memory meanwhile.
    after_one = prediction(qemu, capturer.next_directory())
    assert abs(after_one - max(split, measured)) < split / 10, (after_one, split, measured)
    capturer.capture('--huge-pages')
    again = prediction(qemu, capturer.next_directory())
    assert again < split, (again, split)


@test(timeout=90, small_version='10.0')
def the_check_warns_of_untouched_memory(run):
    """Which is shared, and which has no huge pages to give back."""
    qemu = run.boot(memory='memfd-shared')
    plain = run.boot(disks=[])
    report = qsnapcmd.check(qemu.qmp_path, '--huge-pages')
    assert report['ok'], report
    assert any('were not touched yet' in text for text in report['warnings']), report
    assert any('huge pages cannot be given back' in text for text in report['warnings']), report
    assert report['predicted-pause-us'] > prediction(plain), report
    captured = Capturer(run, qemu).capture('--huge-pages')
    assert any('huge pages were not all given back' in text for text in captured.summary['warnings']), captured.summary
    qemu.assert_alive()


@test(versions=(harness.VERSIONS[-1],), timeout=60)
def a_prediction_of_no_pause(run):
    """A guest that stands still already; one that does not go on."""
    qemu = run.boot()
    assert qsnapcmd.check(qemu.qmp_path, '--leave', 'paused')['predicted-pause-us'] is None
    assert prediction(qemu, '--mode', 'disks-only')
    qemu.qmp('stop')
    assert qsnapcmd.check(qemu.qmp_path)['predicted-pause-us'] == 0
