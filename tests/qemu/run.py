#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the tests on real QEMUs: /usr/bin/python3 tests/qemu/run.py [--full] [-k PATTERN] [--qemu 7.2|10.0] [--list]"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position,unused-import
import runner
import test_torn_control
import test_capture
import test_bad_input
import test_modes
import test_restore
import test_clones
import test_on_demand
import test_compressed
import test_share
import test_restore_bad_input
import test_delete
import test_groups
import test_sets
import test_moved
import test_python
import test_bindings
import test_recover
import test_faults
import test_guest_ends
import test_paused
import test_pause
import test_libvirt
import test_soak
import test_load

sys.exit(runner.main())
