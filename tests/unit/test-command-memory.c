/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guest memory: mapped from the snapshot's files, or loaded. */

#include "command-case.h"

#include <string.h>

#include "qsnap/qsnap-error.h"

#define MIB (1024 * 1024)

#define RAM                                                                                        \
  "memory-backend-file,id=pc.ram,size=536870912,mem-path=/s/pc,,ram,share=off,"                    \
  "x-use-canonical-path-for-ramblock-id=off"
#define READ_ONLY ",readonly=on,rom=off"

static const QsnapRevertBlock known[] = {
  { "pc.ram", 512 * MIB, "/s/pc,ram" },          { "microvm.ram", 512 * MIB, "/s/microvm.ram" },
  { "/objects/m0", 512 * MIB, "/s/m0" },         { "m1", 256 * MIB, "/s/m1" },
  { "/rom@etc/acpi/tables", 2 * MIB, "/s/rom" },
};

/* extra: which blocks; '-' one that is not to be mapped follows. */
static gboolean
map (QsnapCommand *command, const CommandCase *test, gboolean read_only, GError **error)
{
  QsnapRevertBlock blocks[G_N_ELEMENTS (known)];
  gboolean expected[G_N_ELEMENTS (known)];
  guint n = 0;
  gboolean yes = TRUE;

  for (const char *p = test->extra != NULL ? test->extra : "0"; *p != '\0'; p++)
    if (*p == '-')
      yes = FALSE;
    else
      {
        blocks[n] = known[*p - '0'];
        /* Is set either way. */
        blocks[n].mapped = !yes;
        expected[n++] = yes;
        yes = TRUE;
      }

  if (!qsnap_command_map_memory (command, blocks, n, read_only, error))
    return FALSE;

  for (guint i = 0; i < n; i++)
    g_assert_cmpint (blocks[i].mapped, ==, expected[i]);

  return TRUE;
}

static gboolean
map_private (QsnapCommand *command,
             const QsnapAdaptContext *context,
             const CommandCase *test,
             GError **error)
{
  return map (command, test, FALSE, error);
}

static gboolean
map_read_only (QsnapCommand *command,
               const QsnapAdaptContext *context,
               const CommandCase *test,
               GError **error)
{
  return map (command, test, TRUE, error);
}

static gboolean
load (QsnapCommand *command,
      const QsnapAdaptContext *context,
      const CommandCase *test,
      GError **error)
{
  return qsnap_command_load_memory (command, context, error);
}

#define M0_TAIL "mem-path=/s/m0,share=off,x-use-canonical-path-for-ramblock-id=on"
#define M1_TAIL "mem-path=/s/m1,share=off,x-use-canonical-path-for-ramblock-id=off"

static const CommandCase mapped[] = {
  { "default", "-M q35 -m 512", "-M q35,memory-backend=pc.ram -m 512 -object " RAM },
  { "default-without-machine", "-m 512", "-m 512 -object " RAM " -machine memory-backend=pc.ram" },
  { "default-two-machines", "-machine accel=tcg -M q35",
    "-machine accel=tcg,memory-backend=pc.ram -M q35 -object " RAM },
  { "default-path", "-M pc -mem-path /dev/shm -mem-prealloc -m 512",
    "-M pc,memory-backend=pc.ram -m 512 -object " RAM },
  { "microvm", "-M microvm",
    "-M microvm,memory-backend=microvm.ram -object memory-backend-file,id=microvm.ram,"
    "size=536870912,mem-path=/s/microvm.ram,share=off,x-use-canonical-path-for-ramblock-id=off",
    .extra = "1" },
  { "backend-of-machine",
    "-M q35,memory-backend=m0 -object memory-backend-memfd,id=m0,size=512M,share=on,hugetlb=on,"
    "hugetlbsize=2M,seal=off,prealloc=on,prealloc-threads=4,merge=off,dump=off",
    "-M q35,memory-backend=m0 -object memory-backend-file,id=m0,size=512M,merge=off,"
    "dump=off,mem-path=/s/m0,share=off,x-use-canonical-path-for-ramblock-id=on",
    .extra = "2" },
  { "numa",
    "-object memory-backend-ram,id=m0,size=536870912,host-nodes=0-1,policy=bind,reserve=off "
    "-object "
    "memory-backend-file,size=0x10000000,id=m1,mem-path=/hp,align=2M,offset=0,pmem=off,"
    "discard-data=on,readonly=on,rom=on,x-use-canonical-path-for-ramblock-id=off -numa "
    "node,memdev=m0 -numa node,memdev=m1",
    "-object memory-backend-file,id=m0,size=536870912,host-nodes=0-1,policy=bind," M0_TAIL
    " -object memory-backend-file,size=0x10000000,id=m1," M1_TAIL
    " -numa node,memdev=m0 -numa node,memdev=m1",
    .extra = "23" },
  { "numa-and-default", "-object memory-backend-ram,id=x,size=1G -numa node,memdev=x", NULL,
    .extra = "-0" },
  { "dimm", "-M pc -m 512,slots=2,maxmem=2G -object qom-type=memory-backend-ram,id=m1,size=.25G",
    NULL, .error = "its size is not that of the block m1, 268435456 bytes", .extra = "03" },
  { "dimm-and-default",
    "-M pc -m 512,slots=2,maxmem=2G -object memory-backend-ram,id=m1,size=0.25G -device "
    "pc-dimm,memdev=m1",
    "-M pc,memory-backend=pc.ram -m 512,slots=2,maxmem=2G -object "
    "memory-backend-file,id=m1,size=0.25G," M1_TAIL " -device pc-dimm,memdev=m1 -object " RAM,
    .extra = "03" },
  { "json",
    "-object {\"qom-type\":\"memory-backend-memfd\",\"id\":\"m0\",\"size\":536870912,\"share\":"
    "true,\"host-nodes\":[0],\"policy\":\"bind\",\"prealloc\":true}",
    "-object {\"qom-type\":\"memory-backend-file\",\"id\":\"m0\",\"size\":536870912,"
    "\"host-nodes\":[0],\"policy\":\"bind\",\"mem-path\":\"/s/m0\",\"share\":false,"
    "\"x-use-canonical-path-for-ramblock-id\":true}",
    .extra = "2" },
  { "no-option", "-M q35", NULL, .extra = "-2-3-4" },
  { "other-backend-owns-default", "-M q35,memory-backend=x", NULL, .extra = "-0" },
  { "other-objects",
    "-object iothread,id=m0 -object rng-random,id=r -object {\"id\":\"m0\"} -object secret,id=m1",
    NULL, .extra = "-2-3" },
  { "unmapped-file", "-object memory-backend-file,id=x,size=1M,mem-path=/x,share=on,prealloc=on",
    "-object memory-backend-ram,id=x,size=1M,share=on,prealloc=on", .extra = "-2" },
  { "unmapped-prealloc", "-mem-prealloc -mem-path /no/such/file", "-mem-prealloc", .extra = "-2" },
  { "nothing", "-m 5", NULL, .extra = "" },
  { "size", "-object memory-backend-ram,id=m0,size=511M", NULL,
    "-object memory-backend-ram,id=m0,size=511M: its size is not that of the block /objects/m0",
    .extra = "2" },
  { "size-missing", "-object memory-backend-ram,id=m0", NULL, "its size", .extra = "2" },
  { "size-words", "-object memory-backend-ram,id=m0,size=512Mi", NULL, "its size", .extra = "2" },
  { "size-huge", "-object memory-backend-ram,id=m0,size=99999999999999999999E", NULL, "its size",
    .extra = "2" },
  { "size-infinite", "-object memory-backend-ram,id=m0,size=1.5e400", NULL, "its size",
    .extra = "2" },
  { "size-type", "-object {\"qom-type\":\"memory-backend-ram\",\"id\":\"m0\",\"size\":[]}", NULL,
    "its size", .extra = "2" },
  { "epc", "-object memory-backend-epc,id=m0,size=512M", NULL, "cannot be mapped", .extra = "2" },
  { "shm", "-object memory-backend-shm,id=m0,size=512M", NULL, "cannot be mapped", .extra = "2" },
  { "broken", "-object {", NULL, "-object {: ", .extra = "0" },
};

static const CommandCase mapped_read_only[] = {
  { "default", "-M q35", "-M q35,memory-backend=pc.ram -object " RAM READ_ONLY },
  { "backend", "-object memory-backend-ram,id=m0,size=0.5g",
    "-object memory-backend-file,id=m0,size=0.5g," M0_TAIL READ_ONLY, .extra = "2" },
  { "json", "-object {\"qom-type\":\"memory-backend-ram\",\"id\":\"m1\",\"size\":268435456}",
    "-object {\"qom-type\":\"memory-backend-file\",\"id\":\"m1\",\"size\":268435456,"
    "\"mem-path\":\"/s/m1\",\"share\":false,\"x-use-canonical-path-for-ramblock-id\":false,"
    "\"readonly\":true,\"rom\":\"off\"}",
    .extra = "3" },
  /* A revert that was mapped itself. */
  { "revert-of-revert",
    "-M q35,memory-backend=pc.ram -object memory-backend-file,id=pc.ram,size=536870912,"
    "mem-path=/old/ram,share=off,x-use-canonical-path-for-ramblock-id=off" READ_ONLY,
    "-M q35,memory-backend=pc.ram -object " RAM READ_ONLY },
};

static const CommandCase loaded[] = {
  { "nothing", "-M q35 -m 512", NULL },
  { "ram", "-object memory-backend-ram,id=a,size=1 -object memory-backend-memfd,id=b,size=1",
    NULL },
  { "other", "-object memory-backend-epc,id=a,size=1 -object {\"qom-type\":5} -object x", NULL },
  { "file",
    "-object memory-backend-file,id=a,size=1M,mem-path=/x,share=on,align=2M,offset=0,pmem=on,"
    "readonly=off,rom=auto,discard-data=on,prealloc=on,policy=bind,"
    "x-use-canonical-path-for-ramblock-id=off",
    "-object memory-backend-ram,id=a,size=1M,share=on,prealloc=on,policy=bind,"
    "x-use-canonical-path-for-ramblock-id=off" },
  { "json",
    "-object {\"qom-type\":\"memory-backend-file\",\"id\":\"a\",\"size\":1,\"mem-path\":\"x\"}",
    "-object {\"qom-type\":\"memory-backend-ram\",\"id\":\"a\",\"size\":1}" },
  { "directory", "-object memory-backend-file,id=a,size=1M,mem-path=/tmp,share=on", NULL },
  { "relative-directory", "-object memory-backend-file,id=a,size=1M,mem-path=../tmp", NULL },
  { "path", "-mem-path /no/such/file -mem-prealloc -m 1", "-mem-prealloc -m 1" },
  { "path-directory", "-mem-path /tmp -mem-prealloc", NULL },
  { "mapped-revert", "-M q35,memory-backend=pc.ram -object " RAM READ_ONLY,
    "-M q35,memory-backend=pc.ram -object memory-backend-ram,id=pc.ram,size=536870912,share=off,"
    "x-use-canonical-path-for-ramblock-id=off" },
  { "broken", "-object {", NULL, "-object {: " },
};

/* Whoever cannot map may load instead. */
static void
test_refusal_changes_nothing (void)
{
  static const char *const arguments =
      "-mem-prealloc -object memory-backend-memfd,id=m0,size=512M,hugetlb=on -object "
      "memory-backend-file,id=x,size=1,mem-path=/x -object memory-backend-ram,id=m1,size=1";
  g_autoptr (QsnapCommand) command = command_from_text (arguments);
  QsnapRevertBlock blocks[] = { known[2], known[3] };
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;

  g_assert_false (qsnap_command_map_memory (command, blocks, 2, FALSE, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  text = command_to_text (command);
  g_assert_cmpstr (text, ==, arguments);
}

int
main (int argc, char *argv[])
{
  g_test_init (&argc, &argv, NULL);

  command_cases_add ("/command/memory/map", mapped, G_N_ELEMENTS (mapped), map_private);
  command_cases_add ("/command/memory/read-only", mapped_read_only, G_N_ELEMENTS (mapped_read_only),
                     map_read_only);
  g_test_add_func ("/command/memory/refusal", test_refusal_changes_nothing);
  command_cases_add ("/command/memory/load", loaded, G_N_ELEMENTS (loaded), load);

  return g_test_run ();
}
