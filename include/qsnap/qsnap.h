/* SPDX-License-Identifier: LGPL-2.1-or-later */

#pragma once

#define QSNAP_H_INSIDE

#include <qsnap/qsnap-disk-options.h>
#include <qsnap/qsnap-disk.h>
#include <qsnap/qsnap-enum-types.h>
#include <qsnap/qsnap-enums.h>
#include <qsnap/qsnap-error.h>
#include <qsnap/qsnap-group-snapshot.h>
#include <qsnap/qsnap-group.h>
#include <qsnap/qsnap-orphan.h>
#include <qsnap/qsnap-report.h>
#include <qsnap/qsnap-restore-options.h>
#include <qsnap/qsnap-retention.h>
#include <qsnap/qsnap-session.h>
#include <qsnap/qsnap-snapshot-options.h>
#include <qsnap/qsnap-snapshot.h>
#include <qsnap/qsnap-version-macros.h>
#include <qsnap/qsnap-version.h>

#undef QSNAP_H_INSIDE
