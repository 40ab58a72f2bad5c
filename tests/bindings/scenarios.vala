/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The scenarios in Vala: scenarios SCENARIO ADDRESS FOLDER */

const int CYCLES = 1000;
const string IN_ORDER = " point memory";

delegate void Scenario (string address, string folder) throws GLib.Error;
delegate void Attempt () throws GLib.Error;

Qsnap.Session open_session (string address) throws GLib.Error {
  var session = new Qsnap.Session (address);
  session.open ();
  return session;
}

File file_of (string folder, string name) {
  return File.new_build_filename (folder, name);
}

Qsnap.SnapshotOptions options_for (string folder, string name = "snapshot") {
  var options = new Qsnap.SnapshotOptions (file_of (folder, name));
  options.name = "before " + name;
  return options;
}

void assert_runs (Qsnap.Session session) throws GLib.Error {
  var reply = session.execute ("query-status", null, null);
  assert_cmpstr (reply.get_object ().get_string_member ("status"), CompareOperator.EQ, "running");
}

class News : Object {
  public string text = "";
}

News note_signals (Qsnap.Session session) {
  var news = new News ();
  session.point_in_time_reached.connect (() => news.text += " point");
  session.memory_complete.connect ((snapshot) => news.text += snapshot.sealed ? " memory" : " unsealed");
  return news;
}

void assert_news (News news, string expected) {
  assert_cmpstr (news.text, CompareOperator.EQ, expected);
  news.text = "";
}

void assert_throws (Quark domain, int code, Attempt attempt) {
  try {
    attempt ();
  } catch (GLib.Error error) {
    if (!error.matches (domain, code))
      critical ("another error: %s", error.message);
    return;
  }
  critical ("no error");
}

/* What is asynchronous, to its end. */
Qsnap.Snapshot wait_capture (Qsnap.Session session, Qsnap.SnapshotOptions options) throws GLib.Error {
  var loop = new MainLoop ();
  AsyncResult? result = null;
  session.instant_snapshot_async.begin (options, null, (source, given) => {
    result = given;
    loop.quit ();
  });
  loop.run ();
  return session.instant_snapshot_async.end (result);
}

void iterate_until (ref int count) {
  while (count == 0)
    MainContext.default ().iteration (true);
}

/* --- scenarios --- */

async void connect_async (string address) throws GLib.Error {
  var session = new Qsnap.Session (address);
  int stopped = 0, closed = 0;
  session.event["STOP"].connect ((name, data, time) => {
    assert_true (name == "STOP" && time > 0);
    stopped++;
  });
  session.closed.connect ((error) => {
    assert_true (error == null);
    closed++;
  });
  yield session.open_async ();
  assert_true (session.is_open && session.qemu_version.has_prefix ("10.0") && session.address == address);
  assert_runs (session);
  yield session.execute_async ("stop", null, null);
  iterate_until (ref stopped);
  var arguments = Json.from_string ("{\"path\": \"/machine\"}");
  assert_true (session.execute ("qom-list", arguments, null).get_array ().get_length () > 0);
  session.close ();
  iterate_until (ref closed);
  assert_false (session.is_open);
}

void scenario_connect (string address, string folder) throws GLib.Error {
  var loop = new MainLoop ();
  AsyncResult? result = null;
  connect_async.begin (address, (source, given) => {
    result = given;
    loop.quit ();
  });
  loop.run ();
  connect_async.end (result);
}

void scenario_check (string address, string folder) throws GLib.Error {
  var session = open_session (address);
  var good = session.check (options_for (folder));
  assert_true (good.ok && good.problems.length == 0);
  var bad = session.check (options_for (folder, ""));
  assert_true (!bad.ok && "not empty" in bad.problems[0]);
  assert_true (bad.get_problems ().length == bad.problems.length);
}

void assert_is_good (Qsnap.Snapshot snapshot, string folder) throws GLib.Error {
  assert_true (snapshot.sealed && snapshot.name.has_prefix ("before ") && snapshot.time.to_unix () > 0);
  assert_cmpuint (snapshot.disks.get_n_items (), CompareOperator.EQ, 1);
  var disk = snapshot.disks.get_item (0) as Qsnap.Disk;
  assert_true (disk.device == "virtio0" && disk.mode == Qsnap.DiskMode.OVERLAY);
  assert_cmpstr (disk.base, CompareOperator.EQ, Path.build_filename (folder, "a.raw"));
  assert_true (snapshot.verify ());
  assert_true (Qsnap.Snapshot.load (snapshot.directory).pause_us == snapshot.pause_us);
}

/* No main context is iterated: the signals come inside the call. */
void scenario_capture (string address, string folder) throws GLib.Error {
  var session = open_session (address);
  var news = note_signals (session);
  var snapshot = session.instant_snapshot (options_for (folder));
  assert_news (news, IN_ORDER);
  assert_is_good (snapshot, folder);
}

void scenario_capture_async (string address, string folder) throws GLib.Error {
  var session = open_session (address);
  var news = note_signals (session);
  var snapshot = wait_capture (session, options_for (folder));
  assert_news (news, IN_ORDER);
  assert_is_good (snapshot, folder);
}

void scenario_group (string address, string folder) throws GLib.Error {
  var session = open_session (address);
  var guests = new Qsnap.Group ();
  var news = new News ();
  guests.add_session (session, "web", null);
  assert_throws (new IOError.INVALID_ARGUMENT ("").domain, IOError.INVALID_ARGUMENT,
                 () => guests.add_session (session, "db", null));
  guests.point_in_time_reached.connect ((snapshot) => news.text += snapshot.sealed ? " sealed" : " point");
  guests.memory_complete.connect ((snapshot) => news.text += snapshot.sealed ? " memory" : " unsealed");
  var snapshot = guests.instant_snapshot (options_for (folder));
  assert_news (news, IN_ORDER);
  assert_true (snapshot.overlap_us > 0 && snapshot.skew_us == 0);
  var loaded = Qsnap.GroupSnapshot.load (file_of (folder, "snapshot"));
  assert_cmpstr (loaded.names[0], CompareOperator.EQ, "web");
  assert_true (loaded.find_snapshot ("db") == null && loaded.find_snapshot ("web").sealed && loaded.verify ());

  var loop = new MainLoop ();
  AsyncResult? result = null;
  guests.instant_snapshot_async.begin (options_for (folder, "second"), null, (source, given) => {
    result = given;
    loop.quit ();
  });
  loop.run ();
  assert_true (guests.instant_snapshot_async.end (result).sealed);
  assert_news (news, IN_ORDER);
}

void scenario_progress (string address, string folder) throws GLib.Error {
  var session = open_session (address);
  uint64 done = 0;
  int times = 0;
  var phase = Qsnap.Phase.IDLE;
  session.notify["bytes-done"].connect (() => {
    assert_true (session.bytes_done >= done);
    done = session.bytes_done;
    times++;
  });
  session.notify["phase"].connect (() => {
    assert_true (session.phase > phase || session.phase == Qsnap.Phase.IDLE);
    phase = session.phase;
  });
  session.instant_snapshot (options_for (folder));
  assert_true (times > 1 && done > 0 && done == session.bytes_total);
  assert_true (phase == Qsnap.Phase.IDLE);
}

void scenario_cancel (string address, string folder) throws GLib.Error {
  var session = open_session (address);
  var news = note_signals (session);
  var cancellable = new Cancellable ();
  session.point_in_time_reached.connect (() => cancellable.cancel ());
  try {
    session.instant_snapshot (options_for (folder), cancellable);
    assert_not_reached ();
  } catch (IOError.CANCELLED error) {
    assert_news (news, " point");
  }
  assert_false (file_of (folder, "snapshot/snapshot.json").query_exists ());
  assert_runs (session);
  session.instant_snapshot (options_for (folder));
}

/* Both domains are error domains of the language. */
void scenario_errors (string address, string folder) throws GLib.Error {
  var session = new Qsnap.Session (address);
  try {
    session.instant_snapshot (options_for (folder));
    assert_not_reached ();
  } catch (Qsnap.Error.CLOSED error) {
    assert_true (error.matches (Qsnap.Error.quark (), Qsnap.Error.CLOSED));
  }
  assert_throws (IOError.quark (), IOError.NOT_FOUND, () => open_session ("/nowhere"));
  session.open ();
  try {
    session.execute ("query-name", null, null);
    assert_not_reached ();
  } catch (Qsnap.QmpError.GENERIC error) {
    assert_cmpstr (error.message, CompareOperator.EQ, "simulated error of query-name");
  }
  int refused = 0;
  session.point_in_time_reached.connect (() => {
    var second = options_for (folder, "second");
    assert_throws (Qsnap.Error.quark (), Qsnap.Error.BUSY, () => session.instant_snapshot (second));
    refused++;
  });
  session.instant_snapshot (options_for (folder));
  assert_cmpint (refused, CompareOperator.EQ, 1);
  assert_throws (Qsnap.Error.quark (), Qsnap.Error.EXISTS, () => session.instant_snapshot (options_for (folder)));
}

/* Whoever is the parent reaps it a moment later. */
void wait_ended (int pid) {
  var folder = "/proc/%d".printf (pid);
  for (int i = 0; i < 10000 && FileUtils.test (folder, FileTest.EXISTS); i++)
    Thread.usleep (1000);
  assert_false (FileUtils.test (folder, FileTest.EXISTS));
}

/* On a guest of any kind: what the other languages do too. */
void scenario_revert (string address, string folder) throws GLib.Error {
  var session = open_session (address);
  var news = note_signals (session);
  var snapshot = wait_capture (session, options_for (folder));
  assert_news (news, IN_ORDER);
  var options = new Qsnap.RestoreOptions ();
  options.directory = file_of (folder, "revert");
  var guest = snapshot.restore (options);
  guest.wait_settled ();
  assert_true (guest.pid > 0 && guest.restore_method != Qsnap.RestoreMethod.AUTO);
  assert_runs (guest);
  guest.quit ();
  wait_ended (guest.pid);
  assert_runs (session);
}

/* Nobody can catch it: it is a critical message, and the capture and the other handlers do not suffer. */
void scenario_throwing_handler (string address, string folder) throws GLib.Error {
  var session = open_session (address);
  session.point_in_time_reached.connect (() => {
    throw new IOError.FAILED ("out of the handler");
  });
  var news = note_signals (session);
  Test.expect_message ("qsnap", LogLevelFlags.LEVEL_CRITICAL, "*uncaught error: out of the handler*");
  session.instant_snapshot (options_for (folder, "first"));
  assert_news (news, IN_ORDER);
  Test.expect_message ("qsnap", LogLevelFlags.LEVEL_CRITICAL, "*uncaught error: out of the handler*");
  var snapshot = wait_capture (session, options_for (folder, "second"));
  assert_news (news, IN_ORDER);
  assert_true (snapshot.sealed);
  Test.assert_expected_messages ();
}

int n_gone = 0;

void count_gone (Object where_it_was) {
  AtomicInt.inc (ref n_gone);
}

/* The library's threads let go of a session a moment later. */
void wait_gone (int count) {
  for (int i = 0; i < 20000 && AtomicInt.get (ref n_gone) != count; i++) {
    MainContext.default ().iteration (false);
    Thread.usleep (1000);
  }
  assert_cmpint (AtomicInt.get (ref n_gone), CompareOperator.EQ, count);
}

void scenario_dropped_session (string address, string folder) throws GLib.Error {
  var session = open_session (address);
  session.weak_ref (count_gone);
  var news = note_signals (session);
  var loop = new MainLoop ();
  Qsnap.Snapshot? snapshot = null;
  session.instant_snapshot_async.begin (options_for (folder), null, (source, result) => {
    try {
      snapshot = ((Qsnap.Session) source).instant_snapshot_async.end (result);
    } catch (GLib.Error error) {
      critical (error.message);
    }
    loop.quit ();
  });
  session = null;
  loop.run ();
  assert_news (news, IN_ORDER);
  assert_true (snapshot.sealed);
  wait_gone (1);
}

int count_descriptors () throws GLib.Error {
  var dir = Dir.open ("/proc/self/fd");
  int n = 0;
  while (dir.read_name () != null)
    n++;
  return n;
}

/* A connection's is closed by the library's thread. */
void wait_descriptors (int most) throws GLib.Error {
  for (int i = 0; i < 20000 && count_descriptors () > most; i++)
    Thread.usleep (1000);
  assert_cmpint (count_descriptors (), CompareOperator.LE, most);
}

/* Every second one is not closed, but dropped. */
void scenario_open_close (string address, string folder) throws GLib.Error {
  open_session (address).close ();
  int before = count_descriptors ();
  for (int i = 0; i < CYCLES; i++) {
    var session = open_session (address);
    session.weak_ref (count_gone);
    if (i % 2 == 1)
      session.close ();
  }
  wait_gone (CYCLES);
  wait_descriptors (before);
}

/* Lists, arrays, enumerations, JSON and bound properties. */
void scenario_values (string address, string folder) throws GLib.Error {
  var session = open_session (address);
  var options = options_for (folder);
  var other = options_for (folder, "other");
  options.bind_property ("leave", other, "leave");
  options.leave = Qsnap.Leave.PAUSED;
  assert_true (other.leave == Qsnap.Leave.PAUSED);
  options.leave = Qsnap.Leave.RUNNING;
  options.add_disk (new Qsnap.DiskOptions ("virtio0", Qsnap.DiskMode.OVERLAY));
  assert_true (((Qsnap.DiskOptions) options.disks.get_item (0)).disk == "virtio0");
  var snapshot = session.instant_snapshot (options);
  var list = Qsnap.Snapshot.list (file_of (folder, ""));
  assert_true (((Qsnap.Snapshot) list.get_item (0)).name == "before snapshot");
  assert_true ("-machine" in snapshot.command_line && "-machine" in snapshot.dup_command_line ());
  assert_true (snapshot.dup_manifest ().get_object ().get_string_member ("name") == "before snapshot");
  var restore = new Qsnap.RestoreOptions ();
  restore.command = { "qemu", "-m", "ä" };
  assert_true (restore.command.length == 3 && restore.dup_command ()[2] == "ä");
  restore.set_command (null);
  assert_true ("-incoming" in snapshot.build_command (null));
  var metadata = new VariantDict ();
  metadata.insert_value ("n", new Variant.int32 (7));
  snapshot.annotate ("a text", metadata.end ());
  assert_true (snapshot.description == "a text" && snapshot.metadata.n_children () == 1);
  assert_true (snapshot.check_disk ("virtio0"));
  assert_throws (IOError.quark (), IOError.NOT_FOUND, () => snapshot.relocate_disks ({ "nothing=/ä" }));
  var retention = new Qsnap.Retention ();
  retention.set_keep (Qsnap.Period.DAILY, 1);
  assert_true (retention.explain (list)[0] == "daily 1");
}

/* A session that was made in one thread, with a main context of its own, and is used from another. */
void scenario_threads (string address, string folder) throws GLib.Error {
  var context = new MainContext ();
  var loop = new MainLoop (context);
  var ready = new AsyncQueue<Qsnap.Session> ();
  unowned Thread<bool>? emitter = null;
  var owner = new Thread<bool> ("owner", () => {
    context.push_thread_default ();
    try {
      var made = open_session (address);
      made.memory_complete.connect (() => emitter = Thread.self<bool> ());
      ready.push (made);
    } catch (GLib.Error error) {
      critical (error.message);
    }
    loop.run ();
    context.pop_thread_default ();
    return true;
  });
  var session = ready.pop ();
  wait_capture (session, options_for (folder));
  assert_true (emitter == owner);
  session.instant_snapshot (options_for (folder, "second"));
  assert_true (emitter == Thread.self<bool> ());
  loop.quit ();
  owner.join ();
}

Scenario? find (string name) {
  switch (name) {
  case "connect": return scenario_connect;
  case "check": return scenario_check;
  case "capture": return scenario_capture;
  case "capture-async": return scenario_capture_async;
  case "progress": return scenario_progress;
  case "cancel": return scenario_cancel;
  case "group": return scenario_group;
  case "errors": return scenario_errors;
  case "revert": return scenario_revert;
  case "throwing-handler": return scenario_throwing_handler;
  case "dropped-session": return scenario_dropped_session;
  case "open-close": return scenario_open_close;
  case "values": return scenario_values;
  case "threads": return scenario_threads;
  default: return null;
  }
}

int main (string[] arguments) {
  try {
    find (arguments[1]) (arguments[2], arguments[3]);
    return 0;
  } catch (GLib.Error error) {
    printerr ("%s\n", error.message);
    return 1;
  }
}
