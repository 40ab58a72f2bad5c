/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A small service: captures a guest again and again, and keeps the last snapshots.
 *
 *     keep-last ADDRESS FOLDER SECONDS NUMBER
 *
 * The disks are copied, so that any snapshot can be deleted without a thought for the others. */

class KeepLast : Object {
  public Qsnap.Session session { private get; construct; }
  public File folder { private get; construct; }
  public uint seconds { private get; construct; }
  public uint number { private get; construct; }

  public KeepLast (string address, string folder, uint seconds, uint number) {
    Object (session: new Qsnap.Session (address), folder: File.new_for_path (folder), seconds: seconds, number: number);
  }

  async void capture () throws Error {
    var now = new DateTime.now_utc ();
    var options = new Qsnap.SnapshotOptions (folder.get_child (now.format ("%Y-%m-%dT%H:%M:%SZ")));
    options.disk_mode = Qsnap.DiskMode.COPY;
    var snapshot = yield session.instant_snapshot_async (options);
    print ("captured %s, paused for %.1f ms\n", snapshot.name, snapshot.pause_us / 1000.0);
  }

  /* The list is sorted by time. */
  async void delete_old () throws Error {
    var snapshots = yield Qsnap.Snapshot.list_async (folder);
    for (uint i = 0; i + number < snapshots.get_n_items (); i++) {
      var snapshot = (Qsnap.Snapshot) snapshots.get_item (i);
      yield snapshot.delete_async ();
      print ("deleted %s\n", snapshot.name);
    }
  }

  /* Not add_seconds(), which may come early: two snapshots would have one name. */
  async void sleep () {
    Timeout.add (seconds * 1000, sleep.callback);
    yield;
  }

  /* A guest that is busy is captured the next time; every other error is the end. */
  public async void run () throws Error {
    yield session.open_async ();
    while (true) {
      try {
        yield capture ();
        yield delete_old ();
      } catch (Qsnap.Error.BUSY error) {
        print ("not this time: %s\n", error.message);
      }
      yield sleep ();
    }
  }
}

int main (string[] arguments) {
  if (arguments.length != 5) {
    printerr ("usage: %s ADDRESS FOLDER SECONDS NUMBER\n", arguments[0]);
    return 2;
  }
  var service = new KeepLast (arguments[1], arguments[2], int.parse (arguments[3]), int.parse (arguments[4]));
  var loop = new MainLoop ();
  int status = 0;
  service.run.begin ((source, result) => {
    try {
      service.run.end (result);
    } catch (Error error) {
      printerr ("%s\n", error.message);
      status = 1;
    }
    loop.quit ();
  });
  loop.run ();
  return status;
}
