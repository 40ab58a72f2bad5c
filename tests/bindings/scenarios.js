// SPDX-License-Identifier: LGPL-2.1-or-later
// The scenarios in GJS: gjs -m scenarios.js SCENARIO ADDRESS FOLDER

import Gio from 'gi://Gio';
import GLib from 'gi://GLib';
import GObject from 'gi://GObject';
import Json from 'gi://Json?version=1.0';
import Qsnap from 'gi://Qsnap?version=1.0';
import System from 'system';

Gio._promisify(Qsnap.Session.prototype, 'open_async', 'open_finish');
Gio._promisify(Qsnap.Session.prototype, 'execute_async', 'execute_finish');
Gio._promisify(Qsnap.Session.prototype, 'check_async', 'check_finish');
Gio._promisify(Qsnap.Session.prototype, 'instant_snapshot_async', 'instant_snapshot_finish');
Gio._promisify(Qsnap.Session.prototype, 'wait_settled_async', 'wait_settled_finish');
Gio._promisify(Qsnap.Session.prototype, 'quit_async', 'quit_finish');
Gio._promisify(Qsnap.Snapshot.prototype, 'restore_async', 'restore_finish');
Gio._promisify(Qsnap.Snapshot, 'load_async', 'load_finish');
Gio._promisify(Qsnap.Group.prototype, 'instant_snapshot_async', 'instant_snapshot_finish');
Gio._promisify(Qsnap.GroupSnapshot, 'load_async', 'load_finish');

const CYCLES = 1000;
const SKIPPED = 77;
const IN_ORDER = 'point, memory';

function assert(condition, ...told) {
  if (!condition)
    throw new Error(`assertion failed: ${told.map(String).join(' ')}`);
}

function assertEqual(value, expected) {
  assert(value === expected, `${value} is not ${expected}`);
}

function fileOf(folder, name) {
  return Gio.File.new_for_path(GLib.build_filenamev([folder, name]));
}

function openSession(address) {
  const session = Qsnap.Session.new(address);
  session.open(null);
  return session;
}

function optionsFor(folder, name = 'snapshot') {
  return new Qsnap.SnapshotOptions({directory: fileOf(folder, name), name: `before ${name}`});
}

function parsed(node) {
  return JSON.parse(Json.to_string(node, false));
}

function execute(session, command, args = null) {
  const node = args ? Json.from_string(JSON.stringify(args)) : null;
  return parsed(session.execute(command, node, null, null));
}

function noteSignals(session, news = []) {
  session.connect('point-in-time-reached', () => news.push('point'));
  session.connect('memory-complete', (_, snapshot) => news.push(snapshot.sealed ? 'memory' : 'unsealed'));
  return news;
}

function assertFails(domain, code, call) {
  try {
    call();
  } catch (error) {
    assert(error.matches(domain, code), error, error.domain, error.code);
    return error.message;
  }
  throw new Error(`did not fail with ${code}`);
}

function iterateUntil(condition) {
  while (!condition())
    GLib.MainContext.default().iteration(true);
}

// Scenarios

async function connect(address) {
  const session = Qsnap.Session.new(address);
  const events = [], closed = [];
  session.connect('event::STOP', (_, name, data, time) => events.push([name, data, time]));
  session.connect('closed', (_, error) => closed.push(error));
  await session.open_async(null);
  assert(session.is_open && session.qemu_version.startsWith('10.0'), session.qemu_version);
  assertEqual(session.address, address);
  assertEqual(execute(session, 'query-status').status, 'running');
  await session.execute_async('stop', null, null, null);
  iterateUntil(() => events.length > 0);
  assert(events[0][0] === 'STOP' && events[0][2] > 0, events);
  assert(execute(session, 'qom-list', {path: '/machine'}).length > 0);
  session.close();
  iterateUntil(() => closed.length > 0);
  assert(closed[0] === null && !session.is_open, closed);
}

async function check(address, folder) {
  const session = openSession(address);
  const good = await session.check_async(optionsFor(folder), null);
  assert(good.ok && good.problems.length === 0 && Array.isArray(good.warnings), good.problems);
  const bad = session.check(optionsFor(folder, ''), null);
  assert(!bad.ok && bad.get_problems()[0].includes('not empty'), bad.problems);
  assert(!fileOf(folder, 'snapshot').query_exists(null));
}

function assertIsGood(snapshot, folder) {
  assert(snapshot.sealed && snapshot.name.startsWith('before ') && snapshot.pause_us > 0);
  assert(snapshot.time.to_unix() > 0);
  assertEqual(snapshot.disks.get_n_items(), 1);
  const disk = snapshot.disks.get_item(0);
  assertEqual(disk.device, 'virtio0');
  assertEqual(disk.base, GLib.build_filenamev([folder, 'a.raw']));
  assertEqual(disk.mode, Qsnap.DiskMode.OVERLAY);
  assert(snapshot.verify(null));
}

// No main context is iterated: the signals come inside the call.
function capture(address, folder) {
  const session = openSession(address);
  const news = noteSignals(session);
  const snapshot = session.instant_snapshot(optionsFor(folder), null);
  assertEqual(news.join(', '), IN_ORDER);
  assertIsGood(snapshot, folder);
}

async function captureAsync(address, folder) {
  const session = openSession(address);
  const news = noteSignals(session);
  const promise = session.instant_snapshot_async(optionsFor(folder), null);
  assertEqual(news.length, 0);
  const snapshot = await promise;
  assertEqual(news.join(', '), IN_ORDER);
  assertIsGood(snapshot, folder);
  const loaded = await Qsnap.Snapshot.load_async(snapshot.directory, null);
  assertEqual(loaded.pause_us, snapshot.pause_us);
}

async function group(address, folder) {
  const session = openSession(address);
  const guests = new Qsnap.Group();
  assert(guests.add_session(session, 'web', null));
  assertFails(Gio.IOErrorEnum, Gio.IOErrorEnum.INVALID_ARGUMENT, () => guests.add_session(session, 'db', null));
  assertEqual(guests.names.join(), 'web');
  let news = noteSignals(guests);
  const snapshot = guests.instant_snapshot(optionsFor(folder), null);
  assertEqual(news.join(', '), IN_ORDER);
  assert(snapshot.overlap_us > 0 && snapshot.skew_us === 0, snapshot.overlap_us);
  const loaded = await Qsnap.GroupSnapshot.load_async(fileOf(folder, 'snapshot'), null);
  assertEqual(loaded.names.join(), 'web');
  assertEqual(loaded.find_snapshot('db'), null);
  assert(loaded.snapshots.get_item(0).sealed && loaded.verify(null));

  news = noteSignals(guests);
  assert((await guests.instant_snapshot_async(optionsFor(folder, 'second'), null)).sealed);
  assertEqual(news.join(', '), IN_ORDER);
}

function progress(address, folder) {
  const session = openSession(address);
  const done = [], phases = [];
  session.connect('notify::bytes-done', () => done.push(session.bytes_done));
  session.connect('notify::phase', () => phases.push(session.phase));
  session.instant_snapshot(optionsFor(folder), null);
  const grows = list => list.every((value, i) => i === 0 || value >= list[i - 1]);
  assert(done.length > 1 && grows(done) && done.at(-1) === session.bytes_total, done);
  assertEqual(phases.pop(), Qsnap.Phase.IDLE);
  assert(grows(phases) && phases.includes(Qsnap.Phase.SAVING), phases);
}

async function cancel(address, folder) {
  const session = openSession(address);
  const news = noteSignals(session);
  const cancellable = new Gio.Cancellable();
  session.connect('point-in-time-reached', () => cancellable.cancel());
  try {
    await session.instant_snapshot_async(optionsFor(folder), cancellable);
    throw new Error('was not cancelled');
  } catch (error) {
    if (!(error instanceof GLib.Error) || !error.matches(Gio.IOErrorEnum, Gio.IOErrorEnum.CANCELLED))
      throw error;
  }
  assertEqual(news.join(', '), 'point');
  assert(!fileOf(folder, 'snapshot/snapshot.json').query_exists(null));
  assertEqual(execute(session, 'query-status').status, 'running');
  session.instant_snapshot(optionsFor(folder), null);
}

function errors(address, folder) {
  const session = Qsnap.Session.new(address);
  assertFails(Qsnap.Error, Qsnap.Error.CLOSED, () => session.instant_snapshot(optionsFor(folder), null));
  assertFails(Qsnap.error_quark(), Qsnap.Error.CLOSED, () => session.instant_snapshot(optionsFor(folder), null));
  assertFails(Gio.IOErrorEnum, Gio.IOErrorEnum.NOT_FOUND, () => openSession('/nowhere'));
  session.open(null);
  const message = assertFails(Qsnap.QmpError, Qsnap.QmpError.GENERIC, () => execute(session, 'query-name'));
  assertEqual(message, 'simulated error of query-name');
  let busy = null;
  session.connect('point-in-time-reached', () => {
    busy = assertFails(Qsnap.Error, Qsnap.Error.BUSY, () => session.instant_snapshot(optionsFor(folder, 'second'), null));
  });
  session.instant_snapshot(optionsFor(folder), null);
  assert(busy.includes('instant-snapshot'), busy);
  assertFails(Qsnap.Error, Qsnap.Error.EXISTS, () => session.instant_snapshot(optionsFor(folder), null));
}

// Whoever is the parent reaps it a moment later.
async function waitEnded(pid) {
  const exists = () => GLib.file_test(`/proc/${pid}`, GLib.FileTest.EXISTS);
  for (let i = 0; i < 10000 && exists(); i++)
    await sleep(1);
  assert(!exists(), pid);
}

// On a guest of any kind: what the other languages do too.
async function revert(address, folder) {
  const session = openSession(address);
  const news = noteSignals(session);
  const snapshot = await session.instant_snapshot_async(optionsFor(folder), null);
  assertEqual(news.join(', '), IN_ORDER);
  const guest = await snapshot.restore_async(new Qsnap.RestoreOptions({directory: fileOf(folder, 'revert')}), null);
  await guest.wait_settled_async(null);
  assert(guest.pid > 0 && guest.restore_method !== Qsnap.RestoreMethod.AUTO);
  assertEqual(execute(guest, 'query-status').status, 'running');
  await guest.quit_async(null);
  await waitEnded(guest.pid);
  assertEqual(execute(session, 'query-status').status, 'running');
}

// It is logged, and the capture and the other handlers do not suffer.
async function throwingHandler(address, folder) {
  const session = openSession(address);
  let thrown = 0;
  session.connect('point-in-time-reached', () => {
    thrown++;
    throw new Error('out of the handler');
  });
  const news = noteSignals(session);
  session.instant_snapshot(optionsFor(folder, 'first'), null);
  assertEqual(news.splice(0).join(', '), IN_ORDER);
  const snapshot = await session.instant_snapshot_async(optionsFor(folder, 'second'), null);
  assertEqual(news.join(', '), IN_ORDER);
  assert(snapshot.sealed && thrown === 2, thrown);
}

async function droppedSession(address, folder) {
  const news = [];
  const before = countSockets();
  const start = () => {
    const session = openSession(address);
    noteSignals(session, news);
    return session.instant_snapshot_async(optionsFor(folder), null);
  };
  const promise = start();
  System.gc();
  const snapshot = await promise;
  assertEqual(news.join(', '), IN_ORDER);
  assert(snapshot.sealed);
  await waitForSockets(before);
}

function descriptors() {
  const children = Gio.File.new_for_path('/proc/self/fd').enumerate_children('standard::symlink-target', 0, null);
  const targets = [];
  for (let info = children.next_file(null); info; info = children.next_file(null))
    targets.push(info.get_symlink_target() ?? '');
  children.close(null);
  return targets;
}

function countSockets() {
  return descriptors().filter(target => target.startsWith('socket:')).length;
}

function sleep(milliseconds) {
  return new Promise(resolve => GLib.timeout_add(GLib.PRIORITY_DEFAULT, milliseconds, () => {
    resolve();
    return GLib.SOURCE_REMOVE;
  }));
}

// A session that was not closed has its connection until it is finalized.
async function waitForSockets(most) {
  for (let i = 0; i < 5000 && countSockets() > most; i++) {
    await sleep(1);
    System.gc();
  }
  assert(countSockets() <= most, countSockets(), 'sockets instead of', most);
}

// Some are not closed, but dropped.
async function openClose(address) {
  const sockets = countSockets();
  openSession(address).close();
  await waitForSockets(sockets);
  const before = descriptors().length;
  for (let i = 0; i < CYCLES; i++) {
    if (i % 50) {
      openSession(address).close();
    } else {
      openSession(address);
      await waitForSockets(sockets);
    }
  }
  await waitForSockets(sockets);
  assert(descriptors().length <= before, descriptors());
}

// Lists, arrays, enumerations, JSON and bound properties.
function values(address, folder) {
  const session = openSession(address);
  const options = optionsFor(folder), other = optionsFor(folder, 'other');
  options.bind_property('leave', other, 'leave', GObject.BindingFlags.SYNC_CREATE);
  options.leave = Qsnap.Leave.PAUSED;
  assertEqual(other.leave, Qsnap.Leave.PAUSED);
  options.leave = Qsnap.Leave.RUNNING;
  options.add_disk(Qsnap.DiskOptions.new('virtio0', Qsnap.DiskMode.OVERLAY));
  assertEqual(options.disks.get_item(0).disk, 'virtio0');
  const snapshot = session.instant_snapshot(options, null);
  for (let i = 0; i < 20; i++) {
    assertEqual(Qsnap.Snapshot.list(fileOf(folder, ''), null).get_item(0).name, 'before snapshot');
    assert(snapshot.command_line.includes('-machine'), snapshot.command_line);
    assert(Array.isArray(snapshot.warnings), snapshot.warnings);
    assertEqual(parsed(snapshot.dup_manifest()).name, 'before snapshot');
    const restore = new Qsnap.RestoreOptions({command: ['qemu', '-m', 'ä']});
    assertEqual(restore.command.join(), 'qemu,-m,ä');
    restore.set_command(null);
    assert(snapshot.build_command(null).includes('-incoming'));
  }
  snapshot.annotate('a text', new GLib.Variant('a{sv}', {n: GLib.Variant.new_int32(7)}), null);
  assertEqual(snapshot.description, 'a text');
  assertEqual(snapshot.metadata.deepUnpack().n.unpack(), 7);
  assert(snapshot.check_disk('virtio0', null));
  assertFails(Gio.IOErrorEnum, Gio.IOErrorEnum.NOT_FOUND, () => snapshot.relocate_disks(['nothing=/ä'], null));
  const retention = new Qsnap.Retention();
  retention.set_keep(Qsnap.Period.DAILY, 1);
  assertEqual(retention.explain(Qsnap.Snapshot.list(fileOf(folder, ''), null)).join(), 'daily 1');
}

function threads() {
  print('GJS has one thread');
  System.exit(SKIPPED);
}

const scenarios = {
  'connect': connect,
  'check': check,
  'capture': capture,
  'capture-async': captureAsync,
  'progress': progress,
  'cancel': cancel,
  'group': group,
  'errors': errors,
  'revert': revert,
  'throwing-handler': throwingHandler,
  'dropped-session': droppedSession,
  'open-close': openClose,
  'values': values,
  'threads': threads,
};

const [scenario, ...rest] = ARGV;
await scenarios[scenario](...rest);
