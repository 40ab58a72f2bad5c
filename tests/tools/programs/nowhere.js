// SPDX-License-Identifier: LGPL-2.1-or-later
imports.gi.versions.Qsnap = '1.0';
const {Gio, Qsnap} = imports.gi;

let message = null;
try {
  Qsnap.Session.new('/nowhere').open(null);
} catch (error) {
  if (!error.matches(Gio.IOErrorEnum, Gio.IOErrorEnum.NOT_FOUND))
    throw error;
  message = error.message;
}
if (message === null)
  throw new Error('no error');
print(message);
