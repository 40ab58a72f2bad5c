/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Documentation only, of what has no place of its own: the pages of enumerations and of versions,
 * and qsnap-version-macros.h, which is generated. */

/**
 * SECTION:qsnap-enums
 * @title: Enumerations
 * @short_description: Phases of an operation, ways to take a snapshot, ways back
 *
 * #QsnapSession:phase tells how far an operation has come. #QsnapSnapshotOptions:mode,
 * #QsnapSnapshotOptions:disk-mode, #QsnapDiskOptions:sync and #QsnapSnapshotOptions:leave choose
 * how a snapshot is taken, #QsnapRestoreOptions:method how a guest gets its memory back. #QsnapRetention
 * keeps snapshots by #QsnapPeriod.
 */

/**
 * SECTION:qsnap-version
 * @title: Version
 * @short_description: The version of the library, at compile time
 *
 * Numbers after the first dot that are even are stable series; within one, nothing is removed and
 * nothing is added. A program can say which series it was written for, and the compiler then warns
 * of what that series does not have.
 */

/**
 * QSNAP_VERSION_MIN_REQUIRED:
 *
 * A program may define this, as one of the macros #QSNAP_VERSION_1_0 and later, before it includes
 * `qsnap/qsnap.h`. The compiler then warns of what was deprecated in that series or before. It is
 * the newest series if it is not defined.
 *
 * Since: 1.0
 */

/**
 * QSNAP_VERSION_MAX_ALLOWED:
 *
 * A program may define this, as one of the macros #QSNAP_VERSION_1_0 and later, before it includes
 * `qsnap/qsnap.h`. The compiler then warns of what came only after that series. It is the newest
 * series if it is not defined.
 *
 * Since: 1.0
 */

/**
 * QSNAP_VERSION_1_0:
 *
 * The series 1.0, for #QSNAP_VERSION_MIN_REQUIRED and #QSNAP_VERSION_MAX_ALLOWED.
 *
 * Since: 1.0
 */
