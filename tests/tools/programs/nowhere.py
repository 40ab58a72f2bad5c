# SPDX-License-Identifier: LGPL-2.1-or-later
import gi
gi.require_version('Qsnap', '1.0')
from gi.repository import Gio, GLib, Qsnap

try:
    Qsnap.Session.new('/nowhere').open(None)
except GLib.Error as error:
    assert error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.NOT_FOUND)
    print(error.message)
else:
    raise SystemExit('no error')
