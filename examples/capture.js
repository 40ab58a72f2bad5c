#!/usr/bin/env -S gjs -m
// SPDX-License-Identifier: LGPL-2.1-or-later
// Takes an instant snapshot of a running guest, with promises: capture.js ADDRESS DIRECTORY

import Gio from 'gi://Gio';
import Qsnap from 'gi://Qsnap?version=1.0';
import System from 'system';

Gio._promisify(Qsnap.Session.prototype, 'open_async', 'open_finish');
Gio._promisify(Qsnap.Session.prototype, 'check_async', 'check_finish');
Gio._promisify(Qsnap.Session.prototype, 'instant_snapshot_async', 'instant_snapshot_finish');

async function capture(address, path) {
  const session = Qsnap.Session.new(address);
  session.connect('point-in-time-reached', (_session, snapshot) => {
    print(`point in time reached: the guest was stopped for ${snapshot.pause_us / 1000} ms`);
  });
  session.connect('notify::phase', () => print(`phase ${session.phase}`));

  await session.open_async(null);
  const options = new Qsnap.SnapshotOptions({directory: Gio.File.new_for_path(path)});
  const report = await session.check_async(options, null);
  report.warnings.forEach(warning => print(`warning: ${warning}`));

  const snapshot = await session.instant_snapshot_async(options, null);
  print(`memory complete: ${snapshot.data_size} bytes in ${snapshot.directory.get_path()}`);
  for (let i = 0; i < snapshot.disks.get_n_items(); i++) {
    const disk = snapshot.disks.get_item(i);
    print(`${disk.device}: the guest's disk is now ${disk.overlay}; do not boot ${disk.base}`);
  }
}

if (ARGV.length !== 2) {
  printerr('usage: capture.js ADDRESS DIRECTORY');
  System.exit(2);
}

try {
  await capture(...ARGV);
} catch (error) {
  if (error.matches?.(Qsnap.Error, Qsnap.Error.BUSY))
    printerr('try again later:');
  printerr(error.message);
  System.exit(1);
}
