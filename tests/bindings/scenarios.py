#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The scenarios in Python: scenarios.py SCENARIO ADDRESS FOLDER"""

import gc
import json
import os
import sys
import threading

import gi

gi.require_version('Json', '1.0')
gi.require_version('Qsnap', '1.0')
from gi.repository import Gio, GLib, GObject, Json, Qsnap  # noqa: E402

CYCLES = 1000


def path_of(folder, name):
    return Gio.File.new_for_path(os.path.join(folder, name))


def open_session(address):
    session = Qsnap.Session.new(address)
    assert session.open(None)
    return session


def parsed(node):
    return json.loads(Json.to_string(node, False))


def execute(session, command, **arguments):
    node = Json.from_string(json.dumps(arguments)) if arguments else None
    return parsed(session.execute(command, node, None, None))


def assert_raises(domain, code, function, *arguments):
    """The message."""
    try:
        function(*arguments)
    except GLib.Error as error:
        assert error.matches(domain, code), (error.domain, error.code, error.message)
        return error.message
    raise AssertionError(f'{function} did not fail')


def iterate_until(condition):
    context = GLib.MainContext.default()
    while not condition():
        context.iteration(True)


def start_capture(session, options, cancellable=None):
    """What the callback got will be in the list that is returned."""
    outcome = []

    def done(source, result):
        try:
            outcome.append(source.instant_snapshot_finish(result))
        except GLib.Error as error:
            outcome.append(error)
    session.instant_snapshot_async(options, cancellable, done)
    return outcome


def note_signals(session):
    """Their names, as they come."""
    news = []
    session.connect('point-in-time-reached', lambda *_: news.append('point'))
    session.connect('memory-complete', lambda _, snapshot: news.append('memory' if snapshot.props.sealed else 'unsealed'))
    return news


IN_ORDER = ['point', 'memory']


def connect(address, _folder):
    session = Qsnap.Session.new(address)
    opened, events, closed = [], [], []
    session.connect('notify::is-open', lambda *_: opened.append(session.props.is_open))
    session.connect('event::STOP', lambda _, name, data, time: events.append((name, data, time)))
    session.connect('closed', lambda _, error: closed.append(error))
    session.open_async(None, lambda source, result: opened.append(source.open_finish(result)))
    iterate_until(lambda: len(opened) == 2)
    assert opened == [True, True] and session.props.qemu_version.startswith('10.0'), opened
    assert session.get_address() == address.removeprefix('unix:') or session.props.address == address
    assert execute(session, 'query-status')['status'] == 'running'
    execute(session, 'stop')
    iterate_until(lambda: events)
    assert events[0][0] == 'STOP' and events[0][2] > 0, events
    assert execute(session, 'qom-list', path='/machine')
    session.close()
    iterate_until(lambda: closed)
    assert closed == [None] and not session.props.is_open


def check(address, folder):
    session = open_session(address)
    report = session.check(Qsnap.SnapshotOptions(directory=path_of(folder, 'snapshot')), None)
    assert report.props.ok and report.get_problems() == report.props.problems == [], report.props.problems
    assert isinstance(report.props.warnings, list)
    report = session.check(Qsnap.SnapshotOptions(directory=path_of(folder, '')), None)
    assert not report.props.ok and 'not empty' in report.props.problems[0], report.props.problems
    reports = []
    session.check_async(Qsnap.SnapshotOptions(directory=path_of(folder, 'snapshot')), None,
                        lambda source, result: reports.append(source.check_finish(result)))
    iterate_until(lambda: reports)
    assert reports[0].props.ok and not os.path.exists(os.path.join(folder, 'snapshot'))


def assert_is_good(snapshot, folder):
    assert snapshot.props.sealed and snapshot.props.name.startswith('before ') and snapshot.props.pause_us > 0
    assert snapshot.props.time.to_unix() > 0
    disk, = snapshot.props.disks
    assert disk.props.device == 'virtio0' and disk.props.base == os.path.join(folder, 'a.raw')
    assert disk.props.mode == Qsnap.DiskMode.OVERLAY and os.path.exists(disk.props.overlay)
    assert snapshot.verify(None)
    assert Qsnap.Snapshot.load(snapshot.props.directory, None).props.pause_us == snapshot.props.pause_us


def options_for(folder, name='snapshot'):
    return Qsnap.SnapshotOptions(directory=path_of(folder, name), name=f'before {name}')


def capture(address, folder):
    """No main context is iterated: the signals come inside the call."""
    session = open_session(address)
    news = note_signals(session)
    thread = []
    session.connect('point-in-time-reached', lambda *_: thread.append(threading.get_ident()))
    snapshot = session.instant_snapshot(options_for(folder), None)
    assert news == IN_ORDER and thread == [threading.get_ident()], news
    assert_is_good(snapshot, folder)


def capture_async(address, folder):
    session = open_session(address)
    news = note_signals(session)
    outcome = start_capture(session, options_for(folder))
    assert not news
    iterate_until(lambda: outcome)
    assert news == IN_ORDER, news
    assert_is_good(outcome[0], folder)


def group(address, folder):
    """One guest is a group, too."""
    session = open_session(address)
    guests = Qsnap.Group()
    assert guests.add_session(session, 'web', None)
    assert_raises(Gio.io_error_quark(), Gio.IOErrorEnum.INVALID_ARGUMENT, guests.add_session, session, 'db', None)
    assert guests.props.names == ['web'] and list(guests.get_sessions()) == [session]
    news = note_signals(guests)
    snapshot = guests.instant_snapshot(options_for(folder), None)
    assert news == IN_ORDER and snapshot.props.sealed, news
    assert snapshot.props.overlap_us > 0 and snapshot.props.skew_us == 0, snapshot.props.overlap_us
    outcome = []
    Qsnap.GroupSnapshot.load_async(path_of(folder, 'snapshot'), None, lambda _, result: outcome.append(result))
    iterate_until(lambda: outcome)
    loaded = Qsnap.GroupSnapshot.load_finish(outcome[0])
    assert loaded.props.names == ['web'] and loaded.find_snapshot('db') is None
    assert [one.props.sealed for one in loaded.props.snapshots] == [True] and loaded.verify(None)

    news = note_signals(guests)
    outcome = []
    guests.instant_snapshot_async(options_for(folder, 'second'), None, lambda _, result: outcome.append(result))
    iterate_until(lambda: outcome)
    assert guests.instant_snapshot_finish(outcome[0]).props.sealed and news == IN_ORDER, news


def capture_steps(session, options, cancellable=None):
    """The idiom of docs/bindings.md: phase, bytes done and in all, until it is sealed."""
    outcome = []
    session.instant_snapshot_async(options, cancellable, lambda _, result: outcome.append(result))
    while not outcome:
        GLib.MainContext.default().iteration(True)
        yield session.props.phase, session.props.bytes_done, session.props.bytes_total
    return session.instant_snapshot_finish(outcome[0])


def progress(address, folder):
    session = open_session(address)
    seen, phases = [], []
    session.connect('notify::bytes-done', lambda *_: seen.append((session.props.bytes_done, session.props.bytes_total)))
    session.connect('notify::phase', lambda *_: phases.append(session.props.phase))
    session.instant_snapshot(options_for(folder), None)
    done = [bytes_done for bytes_done, _ in seen]
    assert len(done) > 1 and done == sorted(done) and seen[-1][0] == seen[-1][1] > 0, seen
    assert phases.pop() == Qsnap.Phase.IDLE and phases == sorted(phases) and Qsnap.Phase.SAVING in phases, phases
    assert session.props.operation is None
    steps = list(capture_steps(session, options_for(folder, 'second')))
    done = [bytes_done for _, bytes_done, _ in steps]
    assert len(steps) > 1 and done == sorted(done) and os.path.exists(os.path.join(folder, 'second', 'snapshot.json')), steps


def cancel(address, folder):
    session = open_session(address)
    news = note_signals(session)
    cancellable = Gio.Cancellable()
    handler = session.connect('point-in-time-reached', lambda *_: cancellable.cancel())
    before = execute(session, 'query-block')
    assert_raises(Gio.io_error_quark(), Gio.IOErrorEnum.CANCELLED, session.instant_snapshot, options_for(folder), cancellable)
    assert news == ['point'] and not os.path.exists(os.path.join(folder, 'snapshot', 'snapshot.json'))
    assert execute(session, 'query-status')['status'] == 'running' and execute(session, 'query-block') == before
    session.disconnect(handler)
    session.instant_snapshot(options_for(folder), None)


def errors(address, folder):
    """By domain and code."""
    session = Qsnap.Session.new(address)
    options = options_for(folder)
    assert_raises(Qsnap.error_quark(), Qsnap.Error.CLOSED, session.instant_snapshot, options, None)
    assert_raises(Gio.io_error_quark(), Gio.IOErrorEnum.NOT_FOUND, Qsnap.Session.new(folder + '/nothing').open, None)
    assert_raises(Gio.io_error_quark(), Gio.IOErrorEnum.NOT_FOUND, Qsnap.Snapshot.load, path_of(folder, 'nothing'), None)
    session.open(None)
    message = assert_raises(Qsnap.qmp_error_quark(), Qsnap.QmpError.GENERIC, execute, session, 'query-name')
    assert message == 'simulated error of query-name', message
    busy = []
    session.connect('point-in-time-reached', lambda *_: busy.append(assert_raises(
        Qsnap.error_quark(), Qsnap.Error.BUSY, session.instant_snapshot, options_for(folder, 'second'), None)))
    outcome = start_capture(session, options)
    iterate_until(lambda: outcome)
    assert 'instant-snapshot' in busy[0], busy
    assert_raises(Qsnap.error_quark(), Qsnap.Error.EXISTS, session.instant_snapshot, options, None)


def wait_ended(pid):
    """Whoever is the parent reaps it a moment later."""
    for _ in range(10000):
        if not os.path.exists(f'/proc/{pid}'):
            return
        GLib.usleep(1000)
    raise AssertionError(f'{pid} has not ended')


def revert(address, folder):
    """On a guest of any kind: what the other languages do too."""
    session = open_session(address)
    news = note_signals(session)
    outcome = start_capture(session, options_for(folder))
    iterate_until(lambda: outcome)
    assert news == IN_ORDER, (news, outcome)
    guest = outcome[0].restore(Qsnap.RestoreOptions(directory=path_of(folder, 'revert')), None)
    assert guest.wait_settled(None)
    assert guest.props.pid > 0 and guest.props.restore_method != Qsnap.RestoreMethod.AUTO
    assert execute(guest, 'query-status')['status'] == 'running'
    guest.quit(None)
    wait_ended(guest.props.pid)
    assert execute(session, 'query-status')['status'] == 'running'


def throwing_handler(address, folder):
    """It is printed, and the capture and the other handlers do not suffer."""
    session = open_session(address)
    printed = []
    sys.excepthook = lambda kind, error, trace: printed.append(str(error))

    def throw(*_):
        raise ValueError('out of the handler')
    session.connect('point-in-time-reached', throw)
    news = note_signals(session)
    session.instant_snapshot(options_for(folder, 'first'), None)
    assert news == IN_ORDER, news
    outcome = start_capture(session, options_for(folder, 'second'))
    iterate_until(lambda: outcome)
    assert news == IN_ORDER * 2 and outcome[0].props.sealed, (news, outcome)
    assert printed == ['out of the handler'] * 2, printed


def dropped_session(address, folder):
    session = open_session(address)
    gone = []
    session.weak_ref(lambda: gone.append(True))
    news = note_signals(session)
    outcome = start_capture(session, options_for(folder))
    del session
    gc.collect()
    iterate_until(lambda: outcome)
    assert news == IN_ORDER and outcome[0].props.sealed, (news, outcome)
    wait_gone(gone, 1)


def wait_gone(gone, count):
    """The library's threads let go of a session a moment later."""
    context = GLib.MainContext.default()
    for _ in range(10000):
        gc.collect()
        context.iteration(False)
        if len(gone) == count:
            return
        GLib.usleep(1000)
    raise AssertionError(f'{count - len(gone)} sessions are leaked')


def count_descriptors():
    return len(os.listdir('/proc/self/fd'))


def wait_descriptors(most):
    """A connection's is closed by the library's thread."""
    for _ in range(20000):
        if count_descriptors() <= most:
            return
        GLib.usleep(1000)
    raise AssertionError(os.listdir('/proc/self/fd'))


def open_close(address, _folder):
    """Every second one is not closed, but dropped."""
    gone = []
    open_session(address).close()
    before = count_descriptors()
    for number in range(CYCLES):
        session = open_session(address)
        session.weak_ref(lambda: gone.append(True))
        if number % 2:
            session.close()
        del session
    wait_gone(gone, CYCLES)
    wait_descriptors(before)


def values(address, folder):
    """Lists, arrays, enumerations, JSON and bound properties, many times over."""
    session = open_session(address)
    options = options_for(folder)
    other = Qsnap.SnapshotOptions(directory=path_of(folder, 'other'))
    options.bind_property('leave', other, 'leave', GObject.BindingFlags.SYNC_CREATE)
    options.props.leave = Qsnap.Leave.PAUSED
    assert other.props.leave == Qsnap.Leave.PAUSED and other.props.leave.value_nick == 'paused'
    options.props.leave = Qsnap.Leave.RUNNING
    options.add_disk(Qsnap.DiskOptions.new('virtio0', Qsnap.DiskMode.OVERLAY))
    assert [disk.props.disk for disk in options.props.disks] == ['virtio0'] and len(options.get_disks()) == 1
    snapshot = session.instant_snapshot(options, None)
    for _ in range(20):
        assert [found.props.name for found in Qsnap.Snapshot.list(path_of(folder, ''), None)] == ['before snapshot']
        assert '-machine' in snapshot.props.command_line and snapshot.dup_command_line() == snapshot.props.command_line
        assert isinstance(snapshot.props.warnings, list)
        assert parsed(snapshot.dup_manifest())['name'] == 'before snapshot'
        assert [disk.props.mode for disk in snapshot.get_disks()] == [Qsnap.DiskMode.OVERLAY]
        restore = Qsnap.RestoreOptions(command=['qemu', '-m', 'ä'])
        assert restore.props.command == restore.dup_command() == ['qemu', '-m', 'ä']
        restore.set_command(None)
        assert restore.props.command in (None, [])
        assert '-incoming' in snapshot.build_command(None)
        assert {'name': 'quit'} in execute(session, 'query-commands')
        snapshot.annotate('a text', GLib.Variant('a{sv}', {'n': GLib.Variant('i', 7)}), None)
        assert snapshot.props.description == 'a text' and snapshot.dup_metadata().unpack() == {'n': 7}
        assert snapshot.check_disk('virtio0', None)
        assert_raises(Gio.io_error_quark(), Gio.IOErrorEnum.NOT_FOUND, snapshot.relocate_disks, ['nothing=/ä'], None)
        retention = Qsnap.Retention()
        retention.set_keep(Qsnap.Period.DAILY, 1)
        assert retention.explain(Qsnap.Snapshot.list(path_of(folder, ''), None)) == ['daily 1']


def threads(address, folder):
    """A session that was made in one thread, with a main context of its own, and is used from another."""
    made, seen = [], []
    ready = threading.Event()
    context = GLib.MainContext.new()
    loop = GLib.MainLoop.new(context, False)

    def own():
        context.push_thread_default()
        session = open_session(address)
        session.connect('point-in-time-reached', lambda *_: seen.append(threading.get_ident()))
        session.connect('memory-complete', lambda *_: seen.append(threading.get_ident()))
        made.append(session)
        ready.set()
        loop.run()
        context.pop_thread_default()
    owner = threading.Thread(target=own)
    owner.start()
    ready.wait()
    outcome = start_capture(made[0], options_for(folder))
    iterate_until(lambda: outcome)
    assert seen == [owner.ident] * 2 and outcome[0].props.sealed, (seen, owner.ident)
    made[0].instant_snapshot(options_for(folder, 'second'), None)
    assert seen[2:] == [threading.get_ident()] * 2, seen
    loop.quit()
    owner.join()


SCENARIOS = {
    'connect': connect,
    'check': check,
    'capture': capture,
    'capture-async': capture_async,
    'progress': progress,
    'cancel': cancel,
    'group': group,
    'errors': errors,
    'revert': revert,
    'throwing-handler': throwing_handler,
    'dropped-session': dropped_session,
    'open-close': open_close,
    'values': values,
    'threads': threads,
}

SCENARIOS[sys.argv[1]](*sys.argv[2:])
