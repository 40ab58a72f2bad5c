/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every drive of a command line gets its disk's overlay. */

#include "command-case.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "qsnap/qsnap-error.h"

static const char *const files_a[] = { "/guest/a.img", NULL };
static const char *const files_b[] = { "/revert/disk1.qcow2", "/guest/b.qcow2", "/guest/template",
                                       NULL };
static const char *const files_c[] = { "/guest/c,d.img", "/guest/template", NULL };

static const char *const merged_c[] = { "/guest/gone.qcow2", NULL };

static const char *const files_d[] = { "/guest/d.img", "/guest/template", NULL };

static const QsnapRevertDisk disks[] = {
  { "a", files_a, "/revert/disk0.qcow2" },         { "b", files_b, "/new/disk1.qcow2" },
  { "c", files_c, "/revert/o,v.qcow2", merged_c }, { "d", files_d, "/revert/disk3.qcow2" },
  { "", files_d, "/revert/disk4.qcow2" },          { NULL, files_d, "/revert/disk5.qcow2" },
};

#define A "/revert/disk0.qcow2"
#define B "/new/disk1.qcow2"

/* extra: the letters of the disks that the snapshot has; NULL: a. */
static gboolean
adapt (QsnapCommand *command,
       const QsnapAdaptContext *context,
       const CommandCase *test,
       GError **error)
{
  QsnapRevertDisk chosen[G_N_ELEMENTS (disks)];
  const char *letters = test->extra != NULL ? test->extra : "a";
  guint n = 0;

  for (; letters[n] != '\0' && letters[n] != '-'; n++)
    chosen[n] = disks[letters[n] - 'a'];

  return qsnap_command_adapt_disks (command, context, chosen, n, error);
}

static const CommandCase drives[] = {
  { "file", "-drive file=/guest/a.img,if=virtio,cache=none,aio=native",
    "-drive file=" A ",if=virtio,cache=none,aio=native,format=qcow2" },
  { "relative", "-drive if=none,id=d,file=./x/../a.img,format=raw,serial=5,werror=stop",
    "-drive if=none,id=d,file=" A ",format=qcow2,serial=5,werror=stop" },
  { "file-protocol", "-drive file=file:/guest/a.img", "-drive file=" A ",format=qcow2" },
  { "filename", "-drive driver=raw,file.filename=a.img,file.locking=off",
    "-drive driver=qcow2,file.filename=" A ",file.locking=off" },
  { "host-device", "-drive format=raw,file.driver=host_device,file.filename=/guest/a.img",
    "-drive format=qcow2,file.driver=file,file.filename=" A },
  { "commas", "-drive file=c,,d.img,format=raw", "-drive file=/revert/o,,v.qcow2,format=qcow2",
    .extra = "c" },
  { "two", "-drive file=b.qcow2,format=qcow2 -m 5 -drive file=a.img",
    "-drive file=" B ",format=qcow2 -m 5 -drive file=" A ",format=qcow2", .extra = "ab" },
  { "template", "-drive file=template", "-drive file=/revert/o,,v.qcow2,format=qcow2",
    .extra = "c" },
  { "merged-away", "-drive file=gone.qcow2", "-drive file=/revert/o,,v.qcow2,format=qcow2",
    .extra = "c" },
  { "template-of-two", "-drive file=template", NULL, "belongs to 2 disks", .extra = "cd" },
  { "template-nearer", "-drive file=template -drive file=b.qcow2",
    "-drive file=/revert/o,,v.qcow2,format=qcow2 -drive file=" B ",format=qcow2", .extra = "bc" },
  { "two-on-a-template", "-drive file=b.qcow2,format=qcow2 -drive file=c,,d.img",
    "-drive file=" B ",format=qcow2 -drive file=/revert/o,,v.qcow2,format=qcow2", .extra = "cb" },
  { "revert-of-revert", "-drive file=/revert/disk1.qcow2,format=qcow2,index=0",
    "-drive file=" B ",format=qcow2,index=0", .extra = "b" },
  { "tuned-qcow2", "-drive file=b.qcow2,format=qcow2,l2-cache-size=4M,overlap-check.template=all",
    "-drive file=" B ",format=qcow2,l2-cache-size=4M,overlap-check.template=all", .extra = "b" },
  { "tuned-probed", "-drive file=b.qcow2,lazy-refcounts=on",
    "-drive file=" B ",lazy-refcounts=on,format=qcow2", .extra = "b" },
  { "tuned-other", "-drive file=a.img,format=vpc,force-size-calc=current_size,cache-size=5",
    "-drive file=" A ",format=qcow2" },
  { "backing-null", "-drive file=b.qcow2,format=qcow2,backing=", "-drive file=" B ",format=qcow2",
    .extra = "b" },
  { "pflash",
    "-drive if=pflash,format=raw,unit=0,readonly=on,file=/code.fd -drive "
    "if=pflash,format=raw,unit=1,file=a.img",
    "-drive if=pflash,format=raw,unit=0,readonly=on,file=/code.fd -drive "
    "if=pflash,format=qcow2,unit=1,file=" A },
  { "left-alone",
    "-cdrom /x.iso -drive file=/y.iso,media=cdrom -drive if=none,id=e -drive "
    "file=/z,readonly -drive file=/w,read-only=on -drive file=nbd:h:1,readonly=on -drive "
    "if=ide,file= -kernel k -initrd i",
    NULL, .extra = "-" },
  { "nbd", "-drive file=nbd:localhost:1", NULL, "not named by its path" },
  { "json", "-drive file=json:{\"driver\":\"file\"}", NULL, "not named by its path" },
  { "fdset", "-drive file=/dev/fdset/3", NULL, "descriptor" },
  { "ssh", "-drive file.driver=ssh,file.path=/x", NULL, "not a local file (ssh)" },
  { "nested", "-drive driver=qcow2,file.driver=file,file.file.filename=a.img", NULL,
    "none of the known forms" },
  { "node-of-its-own", "-drive driver=null-co,if=none", NULL, "none of the known forms" },
  { "throttle", "-drive driver=throttle,file=a.img", NULL, "throttle is no image format" },
  { "offset", "-drive file=a.img,format=raw,offset=512", NULL, "part of its image" },
  { "size", "-drive file=a.img,format=raw,size=512", NULL, "part of its image" },
  { "encrypt", "-drive file=a.img,format=qcow2,encrypt.key-secret=s", NULL, "encrypted (encrypt)" },
  { "luks", "-drive file=a.img,format=luks,key-secret=s", NULL, "encrypted (key-secret)" },
  { "backing", "-drive file=a.img,format=qcow2,backing=n", NULL, "backing node n" },
  { "backing-file", "-drive file=a.img,format=qcow2,backing.file.filename=x", NULL,
    "backing file of its own" },
  { "data-file", "-drive file=a.img,format=qcow2,data-file.filename=x", NULL, "data file" },
  { "snapshot-key", "-drive file=a.img,snapshot=on", NULL, "temporary one (snapshot)" },
  { "snapshot-option", "-snapshot -drive file=a.img", NULL, "-snapshot makes" },
  { "snapshot-without-disk", "-snapshot -cdrom x", NULL, .extra = "-" },
  { "foreign", "-drive file=a.img -drive file=/other", NULL, "/other belongs to no disk" },
  { "twice", "-drive file=a.img -drive file=/guest/a.img", NULL,
    "-drive file=/guest/a.img: the disk a is already on another drive" },
  { "missing", "-drive file=a.img", NULL,
    "the disk b, with image /revert/disk1.qcow2, is not on the command line (hot-plugged?)",
    .extra = "ab" },
  { "missing-without-label", "-drive file=a.img", NULL, "a disk, with image /guest/d.img, is not",
    .extra = "ae" },
  { "twice-without-label", "-drive file=d.img -drive file=d.img", NULL,
    "-drive file=d.img: a disk is already", .extra = "f" },
  { "bytes", "-drive file=/guest/\xff", NULL, "belongs to no disk" },
};

static const CommandCase short_forms[] = {
  { "hda", "-hda a.img", "-drive index=0,media=disk,file=" A ",format=qcow2" },
  { "hdb", "-hdb a.img", "-drive index=1,media=disk,file=" A ",format=qcow2" },
  { "hdc", "-hdc a.img", "-drive index=2,media=disk,file=" A ",format=qcow2" },
  { "hdd", "--hdd /guest/a.img", "-drive index=3,media=disk,file=" A ",format=qcow2" },
  { "fda", "-fda a.img", "-drive if=floppy,index=0,file=" A ",format=qcow2" },
  { "fdb", "-fdb a.img", "-drive if=floppy,index=1,file=" A ",format=qcow2" },
  { "pflash", "-pflash a.img", "-drive if=pflash,file=" A ",format=qcow2" },
  { "sd", "-sd a.img", "-drive if=sd,file=" A ",format=qcow2" },
  { "mtdblock", "-mtdblock a.img", "-drive if=mtd,file=" A ",format=qcow2" },
  { "bare", "-m 5 a.img -S", "-m 5 -drive index=0,media=disk,file=" A ",format=qcow2 -S" },
  { "comma", "-hda c,d.img", "-drive index=0,media=disk,file=/revert/o,,v.qcow2,format=qcow2",
    .extra = "c" },
  { "foreign", "-hda /x", NULL, "-hda /x: the image /x belongs to no disk" },
  { "bare-foreign", "/x", NULL, "/x: the image" },
  { "protocol", "-hda nbd:x:1", NULL, "not named by its path" },
  { "vvfat", "-hda fat:rw:/x", NULL, "not named by its path" },
  { "snapshot", "-snapshot -hda a.img", NULL, "-snapshot makes" },
};

static const CommandCase nodes[] = {
  { "apart",
    "-blockdev driver=file,node-name=f,filename=a.img,aio=native,cache.direct=on -blockdev "
    "driver=raw,node-name=d,file=f,discard=unmap -device virtio-blk,drive=d",
    "-blockdev driver=file,node-name=f,filename=" A ",aio=native,cache.direct=on -blockdev "
    "driver=qcow2,node-name=d,file=f,discard=unmap -device virtio-blk,drive=d" },
  { "apart-implied",
    "-blockdev qcow2,node-name=d,file=f -blockdev host_device,node-name=f,"
    "filename=a.img",
    "-blockdev qcow2,node-name=d,file=f -blockdev file,node-name=f,filename=" A },
  { "nested", "-blockdev node-name=d,driver=raw,file.driver=file,file.filename=/guest/a.img",
    "-blockdev node-name=d,driver=qcow2,file.driver=file,file.filename=" A },
  { "protocol", "-blockdev driver=file,node-name=d,filename=a.img,aio=native,cache.direct=on",
    "-blockdev driver=qcow2,node-name=d,file.filename=" A ",file.aio=native,cache.direct=on,"
    "file.driver=file" },
  { "json-apart",
    "-blockdev {\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"a.img\"} -blockdev "
    "{\"driver\":\"raw\",\"node-name\":\"d\",\"file\":\"f\"}",
    "-blockdev {\"driver\":\"file\",\"node-name\":\"f\",\"filename\":\"" A "\"} -blockdev "
    "{\"driver\":\"qcow2\",\"node-name\":\"d\",\"file\":\"f\"}" },
  { "json-nested",
    "-blockdev {\"node-name\":\"d\",\"driver\":\"qcow2\",\"backing\":null,\"read-only\":false,"
    "\"file\":{\"driver\":\"host_device\",\"filename\":\"/guest/a.img\",\"cache\":{\"direct\":"
    "true}}}",
    "-blockdev {\"node-name\":\"d\",\"driver\":\"qcow2\",\"read-only\":false,"
    "\"file\":{\"driver\":\"file\",\"filename\":\"" A "\",\"cache\":{\"direct\":true}}}" },
  { "json-protocol",
    "-blockdev {\"driver\":\"file\",\"node-name\":\"d\",\"filename\":\"a.img\",\"cache\":"
    "{\"direct\":true},\"locking\":\"off\"}",
    "-blockdev {\"driver\":\"qcow2\",\"node-name\":\"d\",\"file\":{\"filename\":\"" A "\","
    "\"locking\":\"off\",\"driver\":\"file\"},\"cache\":{\"direct\":true}}" },
  { "mixed",
    "-blockdev driver=file,node-name=f,filename=a.img -blockdev "
    "{\"driver\":\"qcow2\",\"node-name\":\"d\",\"file\":\"f\"}",
    "-blockdev driver=file,node-name=f,filename=" A " -blockdev "
    "{\"driver\":\"qcow2\",\"node-name\":\"d\",\"file\":\"f\"}" },
  { "commas", "-blockdev driver=file,node-name=d,filename=c,,d.img",
    "-blockdev driver=qcow2,node-name=d,file.filename=/revert/o,,v.qcow2,file.driver=file",
    .extra = "c" },
  { "pflash",
    "-machine q35,pflash0=c,pflash1=v -blockdev driver=file,node-name=c,filename=/code,"
    "read-only=on -blockdev driver=file,node-name=v,filename=a.img",
    "-machine q35,pflash0=c,pflash1=v -blockdev driver=file,node-name=c,filename=/code,"
    "read-only=on -blockdev driver=qcow2,node-name=v,file.filename=" A ",file.driver=file" },
  { "read-only",
    "-blockdev driver=nbd,node-name=d,read-only=on -blockdev "
    "{\"driver\":\"file\",\"node-name\":\"e\",\"filename\":\"/x\",\"read-only\":true}",
    NULL, .extra = "-" },
  { "tuned-qcow2",
    "-blockdev driver=qcow2,node-name=d,file.driver=file,file.filename=b.qcow2,"
    "l2-cache-size=5",
    "-blockdev driver=qcow2,node-name=d,file.driver=file,file.filename=" B ",l2-cache-size=5",
    .extra = "b" },
  { "revert-of-revert",
    "-blockdev driver=qcow2,node-name=v,file.filename=/revert/disk1.qcow2,file.driver=file",
    "-blockdev driver=qcow2,node-name=v,file.filename=" B ",file.driver=file", .extra = "b" },
  { "with-drive", "-blockdev driver=file,node-name=v,filename=a.img -drive file=b.qcow2",
    "-blockdev driver=qcow2,node-name=v,file.filename=" A ",file.driver=file -drive file=" B
    ",format=qcow2",
    .extra = "ab" },
  { "throttle",
    "-blockdev file,node-name=f,filename=a.img -blockdev raw,node-name=d,file=f "
    "-blockdev throttle,node-name=t,throttle-group=g,file=d",
    NULL, "throttle is no image format" },
  { "copy-on-read", "-blockdev copy-on-read,node-name=c,file.driver=raw", NULL,
    "copy-on-read is no image format" },
  { "nbd", "-blockdev nbd,node-name=d,server.type=unix,server.path=/x", NULL,
    "nbd is no image format" },
  { "raw-over-nbd", "-blockdev raw,node-name=d,file.driver=nbd", NULL, "not a local file (nbd)" },
  { "raw-over-raw", "-blockdev raw,node-name=d,file.driver=raw,file.file.filename=a.img", NULL,
    "not a local file (raw)" },
  { "no-file-node", "-blockdev raw,node-name=d,file=f", NULL, "there is no -blockdev f" },
  { "itself", "-blockdev raw,node-name=d,file=d", NULL, "the disk a" },
  { "shared-file",
    "-blockdev file,node-name=f,filename=a.img -blockdev raw,node-name=d,file=f "
    "-blockdev raw,node-name=e,file=f",
    NULL, "more than one node uses f" },
  { "no-filename", "-blockdev file,node-name=f", NULL, "no file name" },
  { "no-driver", "-blockdev node-name=f,filename=a.img", NULL, "no driver" },
  { "offset",
    "-blockdev {\"driver\":\"raw\",\"offset\":512,\"file\":{\"driver\":\"file\","
    "\"filename\":\"a.img\"}}",
    NULL, "part of its image" },
  { "backing-object",
    "-blockdev {\"driver\":\"qcow2\",\"backing\":{\"driver\":\"raw\"},\"file\":{\"driver\":"
    "\"file\",\"filename\":\"a.img\"}}",
    NULL, "backing file of its own" },
  { "encrypt", "-blockdev qcow2,node-name=d,encrypt.format=luks,file.driver=file", NULL,
    "encrypted (encrypt)" },
  { "types", "-blockdev {\"driver\":[],\"file\":7}", NULL, "no driver" },
  { "filename-type", "-blockdev {\"driver\":\"file\",\"filename\":{\"a\":1}}", NULL,
    "no file name" },
  { "broken", "-blockdev {\"driver\":", NULL, "-blockdev {\"driver\":: not JSON" },
  { "foreign", "-blockdev file,node-name=d,filename=/x", NULL, "/x belongs to no disk" },
};

/* A storage node and a format node for each image, as libvirt has them. */
#define STORAGE(name, file)                                                                        \
  "-blockdev {\"driver\":\"file\",\"filename\":\"" file "\",\"node-name\":\"" name                 \
  "-storage\",\"auto-read-only\":true,\"discard\":\"unmap\"} "
#define FORMAT(name, read_only, driver, more)                                                      \
  "-blockdev {\"node-name\":\"" name "-format\",\"read-only\":" read_only ",\"driver\":\"" driver  \
  "\",\"file\":\"" name "-storage\"" more "} "
#define ON(name) ",\"backing\":\"" name "-format\""
#define DEVICE(name) "-device {\"driver\":\"virtio-blk-pci\",\"drive\":\"" name "-format\"}"

static const CommandCase chains[] = {
  { "libvirt",
    STORAGE ("l4", "/guest/template") FORMAT ("l4", "true", "raw", "")
        STORAGE ("l3", "/guest/b.qcow2") FORMAT ("l3", "false", "qcow2", ON ("l4")) DEVICE ("l3"),
    STORAGE ("l3", B) FORMAT ("l3", "false", "qcow2", "") DEVICE ("l3"), .extra = "b" },
  { "libvirt-without-chain",
    STORAGE ("l1", "/guest/b.qcow2") FORMAT ("l1", "false", "qcow2", ",\"backing\":null")
        DEVICE ("l1"),
    STORAGE ("l1", B) FORMAT ("l1", "false", "qcow2", "") DEVICE ("l1"), .extra = "b" },
  { "libvirt-long",
    STORAGE ("l3", "/x") FORMAT ("l3", "true", "qcow2", ",\"backing\":null")
        STORAGE ("l2", "/guest/template") FORMAT ("l2", "true", "qcow2", ON ("l3")) STORAGE (
            "l1", "/guest/b.qcow2") FORMAT ("l1", "false", "qcow2", ON ("l2")) DEVICE ("l1"),
    STORAGE ("l1", B) FORMAT ("l1", "false", "qcow2", "") DEVICE ("l1"), .extra = "b" },
  { "libvirt-two-disks",
    STORAGE ("l4", "/x") FORMAT ("l4", "true", "raw", "") STORAGE ("l3", "/guest/b.qcow2")
        FORMAT ("l3", "false", "qcow2", ON ("l4")) DEVICE ("l3") " " STORAGE ("l2", "/y")
            FORMAT ("l2", "true", "qcow2", ",\"backing\":null") STORAGE ("l1", "/guest/a.img")
                FORMAT ("l1", "false", "qcow2", ON ("l2")) DEVICE ("l1"),
    STORAGE ("l3", B) FORMAT ("l3", "false", "qcow2", "") DEVICE ("l3") " " STORAGE ("l1", A)
        FORMAT ("l1", "false", "qcow2", "") DEVICE ("l1"),
    .extra = "ab" },
  { "top-first",
    "-blockdev qcow2,node-name=d,backing=b,file.driver=file,file.filename=a.img -blockdev "
    "qcow2,node-name=b,file.driver=file,file.filename=/b,read-only=on -m 5",
    "-blockdev qcow2,node-name=d,file.driver=file,file.filename=" A " -m 5" },
  { "writable-below",
    "-blockdev qcow2,node-name=d,backing=b,file.driver=file,file.filename=a.img -blockdev "
    "file,node-name=b,filename=/b",
    "-blockdev qcow2,node-name=d,file.driver=file,file.filename=" A },
  { "shared",
    "-blockdev file,node-name=t,filename=/guest/template,read-only=on -blockdev "
    "qcow2,node-name=d,backing=t,file.driver=file,file.filename=a.img -blockdev "
    "qcow2,node-name=e,backing=t,file.driver=file,file.filename=b.qcow2",
    "-blockdev qcow2,node-name=d,file.driver=file,file.filename=" A
    " -blockdev qcow2,node-name=e,file.driver=file,file.filename=" B,
    .extra = "ab" },
  { "used-by-node",
    STORAGE ("l3", "/x") FORMAT ("l3", "true", "raw", "") STORAGE ("l2", "/guest/template")
        FORMAT ("l2", "true", "qcow2", ON ("l3")) STORAGE ("l1", "/guest/b.qcow2")
            FORMAT ("l1", "false", "qcow2", ON ("l2")) STORAGE ("l0", "/other")
                FORMAT ("l0", "true", "qcow2", ON ("l3")) DEVICE ("l1"),
    STORAGE ("l3", "/x") FORMAT ("l3", "true", "raw", "") STORAGE ("l1", B)
        FORMAT ("l1", "false", "qcow2", "") STORAGE ("l0", "/other")
            FORMAT ("l0", "true", "qcow2", ON ("l3")) DEVICE ("l1"),
    .extra = "b" },
  { "used-by-device",
    "-blockdev file,node-name=t,filename=/x,read-only=on -blockdev "
    "qcow2,node-name=d,backing=t,file.driver=file,file.filename=a.img -device scsi-cd,drive=t",
    "-blockdev file,node-name=t,filename=/x,read-only=on -blockdev "
    "qcow2,node-name=d,file.driver=file,file.filename=" A " -device scsi-cd,drive=t" },
  { "used-in-list",
    "-blockdev file,node-name=t,filename=/x,read-only=on -blockdev "
    "qcow2,node-name=d,backing=t,file.driver=file,file.filename=a.img -blockdev "
    "{\"driver\":\"quorum\",\"children\":[\"t\"],\"read-only\":true}",
    "-blockdev file,node-name=t,filename=/x,read-only=on -blockdev "
    "qcow2,node-name=d,file.driver=file,file.filename=" A
    " -blockdev {\"driver\":\"quorum\",\"children\":[\"t\"],\"read-only\":true}" },
  { "in-a-circle",
    "-blockdev qcow2,node-name=d,backing=t,file.driver=file,file.filename=a.img -blockdev "
    "qcow2,node-name=t,backing=u,file=u -blockdev qcow2,node-name=u,backing=t,file=t",
    "-blockdev qcow2,node-name=d,file.driver=file,file.filename=" A
    " -blockdev qcow2,node-name=t,backing=u,file=u -blockdev qcow2,node-name=u,backing=t,file=t" },
  { "no-node", "-blockdev qcow2,node-name=d,backing=t,file.driver=file,file.filename=a.img", NULL,
    "there is no -blockdev t" },
  { "encrypted",
    "-blockdev qcow2,node-name=d,backing=t,file.driver=file,file.filename=a.img -blockdev "
    "qcow2,node-name=t,encrypt.key-secret=s,read-only=on",
    NULL, "-blockdev qcow2,node-name=t,encrypt.key-secret=s,read-only=on: the disk is encrypted" },
  { "part",
    "-blockdev qcow2,node-name=d,backing=t,file.driver=file,file.filename=a.img -blockdev "
    "raw,node-name=t,offset=5,read-only=on",
    NULL, "part of its image" },
  { "filter",
    "-blockdev qcow2,node-name=d,backing=t,file.driver=file,file.filename=a.img -blockdev "
    "throttle,node-name=t,file=u,read-only=on",
    NULL, "throttle is no image format" },
  { "nested-below",
    "-blockdev qcow2,node-name=d,backing=t,file.driver=file,file.filename=a.img -blockdev "
    "qcow2,node-name=t,backing.driver=raw,read-only=on",
    NULL, "backing file of its own" },
};

/* --- files that are there ------------------------------------------------------------------ */

/* A link, and a second name of one file, are the file. */
static void
test_same_file (void)
{
  g_autofree char *directory = g_dir_make_tmp ("qsnap-test-XXXXXX", NULL);
  g_autofree char *image = g_build_filename (directory, "image", NULL);
  g_autofree char *symbolic = g_build_filename (directory, "symbolic", NULL);
  g_autofree char *hard = g_build_filename (directory, "hard", NULL);
  const char *const files[] = { symbolic, NULL };
  const QsnapRevertDisk disk = { "d", files, "/o" };
  const QsnapAdaptContext context = { "/revert", directory, NULL };
  static const char *const names[] = { "image", "hard", "./symbolic" };

  g_assert_true (g_file_set_contents (image, "x", 1, NULL));
  g_assert_cmpint (symlink ("image", symbolic), ==, 0);
  g_assert_cmpint (link (image, hard), ==, 0);

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autoptr (QsnapCommand) command = command_from_text (names[i]);
      g_autoptr (GError) error = NULL;
      g_autofree char *text = NULL;

      qsnap_command_adapt_disks (command, &context, &disk, 1, &error);
      g_assert_no_error (error);
      text = command_to_text (command);
      g_assert_cmpstr (text, ==, "-drive index=0,media=disk,file=/o,format=qcow2");
    }

  g_unlink (symbolic);
  g_unlink (hard);
  g_unlink (image);
  g_rmdir (directory);
}

/* What is enough of a qcow2 image to say what it stands on. */
static void
write_image (const char *path, const char *backing)
{
  guint8 image[64] = { 'Q', 'F', 'I', 0xfb, 0, 0, 0, 3 };
  gsize length = strlen (backing);

  g_assert_cmpuint (32 + length, <=, sizeof image);
  image[15] = length > 0 ? 32 : 0;
  image[19] = (guint8)length;
  memcpy (image + 32, backing, length);
  g_assert_true (g_file_set_contents (path, (const char *)image, sizeof image, NULL));
}

/* The header of the image that is replaced is followed, not the node that the guest was given. */
static void
test_headers (void)
{
  static const struct
  {
    const char *backing;
    gboolean is_same;
  } cases[] = {
    { "base", TRUE },    { "file:./base", TRUE }, { "symbolic", TRUE },
    { "other", FALSE },  { "", FALSE },           { "/base", FALSE },
    { "json:{}", TRUE }, { "nbd:h:1", TRUE },     { "nowhere/base", FALSE },
  };
  g_autofree char *directory = g_dir_make_tmp ("qsnap-test-XXXXXX", NULL);
  g_autofree char *image = g_build_filename (directory, "image", NULL);
  g_autofree char *base = g_build_filename (directory, "base", NULL);
  g_autofree char *symbolic = g_build_filename (directory, "symbolic", NULL);
  const char *const files[] = { image, base, NULL };
  const QsnapRevertDisk disk = { "d", files, "/o" };
  const QsnapAdaptContext context = { "/revert", directory, NULL };

  g_assert_true (g_file_set_contents (base, "raw", 3, NULL));
  g_assert_cmpint (symlink ("base", symbolic), ==, 0);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (QsnapCommand) command =
          command_from_text ("-blockdev file,node-name=b,filename=base,read-only=on -blockdev "
                             "qcow2,node-name=d,backing=b,file.driver=file,file.filename=image");
      g_autoptr (GError) error = NULL;

      write_image (image, cases[i].backing);
      g_assert_cmpint (qsnap_command_adapt_disks (command, &context, &disk, 1, &error), ==,
                       cases[i].is_same);
      if (cases[i].is_same)
        continue;
      g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
      g_assert_nonnull (strstr (error->message, "does not name what the guest had it stand on"));
    }

  g_unlink (symbolic);
  g_unlink (base);
  g_unlink (image);
  g_rmdir (directory);
}

static void
test_no_working_directory (void)
{
  g_autoptr (QsnapCommand) command = command_from_text ("-hda a.img");
  const QsnapAdaptContext context = { "/revert", NULL, NULL };
  g_autoptr (GError) error = NULL;

  g_assert_false (qsnap_command_adapt_disks (command, &context, disks, 1, &error));
  g_assert_error (error, QSNAP_ERROR, QSNAP_ERROR_UNSUPPORTED);
  g_assert_nonnull (strstr (error->message, "working directory is not known"));
}

int
main (int argc, char *argv[])
{
  g_test_init (&argc, &argv, NULL);

  command_cases_add ("/command/disks/drive", drives, G_N_ELEMENTS (drives), adapt);
  command_cases_add ("/command/disks/short", short_forms, G_N_ELEMENTS (short_forms), adapt);
  command_cases_add ("/command/disks/node", nodes, G_N_ELEMENTS (nodes), adapt);
  command_cases_add ("/command/disks/chain", chains, G_N_ELEMENTS (chains), adapt);
  g_test_add_func ("/command/disks/same-file", test_same_file);
  g_test_add_func ("/command/disks/headers", test_headers);
  g_test_add_func ("/command/disks/no-working-directory", test_no_working_directory);

  return g_test_run ();
}
