/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QEMU's command line taken apart and put together, lists of properties, the machine. */

#include "command-case.h"

#include <string.h>

#include "qsnap/qsnap-error.h"
#include "restore/qsnap-option-props.h"

/* --- parsing ------------------------------------------------------------------------------- */

static void
test_round_trip (void)
{
  static const char *const arguments[] = {
    "",
    "-m 512",
    "-S -s -snapshot -nographic -daemonize -no-reboot -no-shutdown -no-acpi -no-hpet "
    "-no-fd-bootchk -no-user-config -nodefaults -full-screen -enable-kvm -mem-prealloc -usb "
    "-singlestep -one-insn-per-tb -preconfig -only-migratable -win2k-hack -async-teardown "
    "-enable-fips -enable-sync-profile -portrait -xen-attach -xen-domid-restrict -perfmap "
    "-jitdump -audio-help -h -help -version",
    "a.img -m 512 b.img",
    "-append -x -m 1",
    "-drive file=a,,b.img,format=raw,format=raw,readonly -blockdev {\"driver\":\t\"file\"}",
    "-k de -name a=b,,c, -unknown-to-us value -fw_cfg name=opt/x,string=a,,b",
  };

  for (guint i = 0; i < G_N_ELEMENTS (arguments); i++)
    {
      g_autoptr (QsnapCommand) command = command_from_text (arguments[i]);
      g_autofree char *text = command_to_text (command);

      g_assert_cmpstr (text, ==, arguments[i]);
    }
}

static void
test_options (void)
{
  g_autoptr (QsnapCommand) command = command_from_text ("--m 5 -S disk --nodefaults -kernel --x");
  g_autofree char *text = command_to_text (command);
  const QsnapOption *option = g_ptr_array_index (command->options, 0);
  const QsnapOption *image = g_ptr_array_index (command->options, 2);

  g_assert_cmpuint (command->options->len, ==, 5);
  g_assert_cmpstr (option->name, ==, "m");
  g_assert_cmpstr (option->value, ==, "5");
  g_assert_null (image->name);
  g_assert_cmpstr (image->value, ==, "disk");
  g_assert_cmpstr (text, ==, "-m 5 -S disk -nodefaults -kernel --x");

  qsnap_command_add (command, "mon", "x");
  qsnap_command_add (command, "s", NULL);
  g_free (text);
  text = command_to_text (command);
  g_assert_cmpstr (text, ==, "-m 5 -S disk -nodefaults -kernel --x -mon x -s");
}

typedef struct
{
  const char *arguments;
  /* NULL: it is refused. */
  const char *program;
  guint n_options;
} ProgramCase;

static const ProgramCase programs[] = {
  { "/usr/bin/qemu-system-x86_64 -m 1", "/usr/bin/qemu-system-x86_64", 1 },
  { "/usr/libexec/qemu-kvm", "/usr/libexec/qemu-kvm", 0 },
  { "kvm -S", "kvm", 1 },
  { "./.qemu-system-i386-wrapped -S", "./.qemu-system-i386-wrapped", 1 },
  { "/lib64/ld-linux-x86-64.so.2 --library-path /l:/m --inhibit-cache --argv0 q /b/qemu -m 1",
    "/b/qemu", 1 },
  { "/lib/ld.so --preload p --audit a --inhibit-rpath r /b/kvm", "/b/kvm", 0 },
  { "/lib64/ld-linux-x86-64.so.2 /bin/sh -c qemu", NULL, 0 },
  { "/lib64/ld-linux-x86-64.so.2 --library-path /qemu", NULL, 0 },
  { "/lib64/ld-linux-x86-64.so.2 --library-path", NULL, 0 },
  { "/lib64/ld-linux-x86-64.so.2", NULL, 0 },
  { "/bin/sh -c qemu-system-x86_64", NULL, 0 },
  { "/opt/qemu/bin/sh -m 1", NULL, 0 },
  { "\xff -m 1", NULL, 0 },
  { "qemu -m", NULL, 0 },
  { "qemu -", NULL, 0 },
  { "qemu -- x", NULL, 0 },
  { "qemu ---incoming x", NULL, 0 },
};

static void
test_programs (void)
{
  for (guint i = 0; i < G_N_ELEMENTS (programs); i++)
    {
      g_auto (GStrv) argv = g_strsplit (programs[i].arguments, " ", -1);
      g_autoptr (GError) error = NULL;
      g_autoptr (QsnapCommand) command = qsnap_command_parse ((const char *const *)argv, &error);
      g_auto (GStrv) again = NULL;
      g_autofree char *text = NULL;

      g_test_message ("%s", programs[i].arguments);
      if (programs[i].program == NULL)
        {
          g_assert_null (command);
          g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
          continue;
        }

      g_assert_no_error (error);
      g_assert_cmpstr (qsnap_command_get_program (command), ==, programs[i].program);
      g_assert_cmpuint (command->options->len, ==, programs[i].n_options);
      again = qsnap_command_to_strv (command);
      text = g_strjoinv (" ", again);
      g_assert_cmpstr (text, ==, programs[i].arguments);

      qsnap_command_set_program (command, "/other/qemu");
      g_assert_cmpstr (qsnap_command_get_program (command), ==, "/other/qemu");
      g_assert_cmpuint (command->program->len, ==, 1);
    }
}

static void
test_nothing (void)
{
  static const char *const none[] = { NULL };
  static const char *const empty[] = { "", NULL };
  g_autoptr (GError) error = NULL;

  g_assert_null (qsnap_command_parse (none, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  g_clear_error (&error);
  g_assert_null (qsnap_command_parse (NULL, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
  g_clear_error (&error);
  g_assert_null (qsnap_command_parse (empty, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT);
}

static void
test_devices (void)
{
  static const struct
  {
    const char *arguments;
    const char *prefix;
    gboolean has;
  } cases[] = {
    { "-device virtio-balloon-pci,id=x", "virtio-balloon", TRUE },
    { "-device driver=virtio-mem-pci,id=x", "virtio-mem", TRUE },
    { "-device id=x,driver=virtio-mem-pci", "virtio-mem", TRUE },
    { "-device {\"id\":\"x\",\"driver\":\"virtio-balloon\"}", "virtio-balloon", TRUE },
    { "-balloon virtio", "virtio-balloon", TRUE },
    { "-balloon none", "virtio-balloon", FALSE },
    { "-virtfs local,path=/x,mount_tag=t", "virtio-9p", TRUE },
    { "-device virtio-blk,id=virtio-balloon", "virtio-balloon", FALSE },
    { "-device {\"driver\":5} -device {broken -S virtio-balloon", "virtio-balloon", FALSE },
    { "-object virtio-balloon", "virtio-balloon", FALSE },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (QsnapCommand) command = command_from_text (cases[i].arguments);

      g_test_message ("%s", cases[i].arguments);
      g_assert_cmpint (qsnap_command_has_device (command, cases[i].prefix), ==, cases[i].has);
    }
}

/* --- properties ---------------------------------------------------------------------------- */

static void
test_props_list (void)
{
  g_autoptr (QsnapProps) props =
      qsnap_props_parse ("a,,b,x=1,server,nowait,f.g=2,f.h=3,x=4,e=", "type", NULL);
  g_autofree char *before = qsnap_props_to_text (props);
  g_autofree char *after = NULL;

  g_assert_cmpstr (before, ==, "a,,b,x=1,server,nowait,f.g=2,f.h=3,x=4,e=");
  g_assert_cmpstr (qsnap_props_get (props, "type"), ==, "a,b");
  g_assert_cmpstr (qsnap_props_get (props, "x"), ==, "4");
  g_assert_cmpstr (qsnap_props_get (props, "e"), ==, "");
  g_assert_null (qsnap_props_get (props, "f"));
  g_assert_true (qsnap_props_has (props, "f"));
  g_assert_false (qsnap_props_has (props, "f.gg"));
  g_assert_true (qsnap_props_get_bool (props, "server", FALSE));
  g_assert_false (qsnap_props_get_bool (props, "wait", TRUE));
  g_assert_true (qsnap_props_get_bool (props, "none", TRUE));

  qsnap_props_set (props, "x", "4");
  after = qsnap_props_to_text (props);
  g_assert_cmpstr (after, ==, before);

  qsnap_props_set (props, "x", "1,2");
  qsnap_props_remove (props, "f");
  qsnap_props_set (props, "type", "q");
  qsnap_props_rename (props, "wait", "later");
  qsnap_props_rename (props, "none", "later");
  qsnap_props_set_bool (props, "new", TRUE);
  g_free (after);
  after = qsnap_props_to_text (props);
  g_assert_cmpstr (after, ==, "q,server,later=off,x=1,,2,e=,new=on");

  qsnap_props_set (props, "type", "k=v");
  g_free (after);
  after = qsnap_props_to_text (props);
  g_assert_cmpstr (after, ==, "type=k=v,server,later=off,x=1,,2,e=,new=on");
}

static void
test_props_json (void)
{
  static const char *const text =
      "{ \"driver\": \"qcow2\", \"a.b\": 1, \"file\": {\"driver\": \"file\", \"n\": 5, \"o\": {}}, "
      "\"list\": [1, {\"x\": 2}], \"none\": null, \"yes\": true, \"half\": 0.5, \"\": \"\"}";
  g_autoptr (QsnapProps) props = qsnap_props_parse (text, "driver", NULL);
  g_autofree char *before = qsnap_props_to_text (props);
  g_autofree char *after = NULL;

  g_assert_cmpstr (before, ==, text);
  g_assert_cmpstr (qsnap_props_get (props, "file.n"), ==, "5");
  g_assert_cmpstr (qsnap_props_get (props, "half"), ==, "0.5");
  g_assert_cmpstr (qsnap_props_get (props, "yes"), ==, "on");
  g_assert_true (qsnap_props_get_bool (props, "yes", FALSE));
  g_assert_true (qsnap_props_has (props, "none"));
  g_assert_null (qsnap_props_get (props, "none"));
  g_assert_null (qsnap_props_get (props, "list"));
  g_assert_null (qsnap_props_get (props, "file.o"));

  qsnap_props_set (props, "file.driver", "host\"device");
  qsnap_props_set_bool (props, "yes", FALSE);
  qsnap_props_remove (props, "half");
  qsnap_props_rename (props, "none", "file.none");
  qsnap_props_set (props, "new.deep", "v");
  after = qsnap_props_to_text (props);
  g_assert_cmpstr (
      after, ==,
      "{\"driver\":\"qcow2\",\"a.b\":1,\"file\":{\"driver\":\"host\\\"device\",\"n\":5,\"o\":{},"
      "\"none\":null},\"list\":[1,{\"x\":2}],\"yes\":false,\"\":\"\",\"new\":{\"deep\":\"v\"}}");
}

static void
test_props_bad (void)
{
  static const char *const bad[] = { "{", "{\"a\":1} x", "{'a':1}", "{\"a\"}", "{\xff}" };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (GError) error = NULL;

      g_test_message ("%s", bad[i]);
      g_assert_null (qsnap_props_parse (bad[i], NULL, &error));
      g_assert_nonnull (error);
    }
}

/* What is no list comes out as it went in, too. */
static void
test_props_odd (void)
{
  static const char *const odd[] = { "",    ",",     ",,", "a=",   "=",
                                     "=,=", "a,,,b", "no", "a=b,", "é=\xff" };

  for (guint i = 0; i < G_N_ELEMENTS (odd); i++)
    {
      g_autoptr (QsnapProps) props = qsnap_props_parse (odd[i], NULL, NULL);
      g_autofree char *text = qsnap_props_to_text (props);

      g_assert_cmpstr (text, ==, odd[i]);
      qsnap_props_set (props, "k", "v");
      g_free (text);
      text = qsnap_props_to_text (props);
      g_assert_true (g_str_has_suffix (text, "k=v"));
    }
}

/* --- machine ------------------------------------------------------------------------------- */

static const CommandCase machines[] = {
  { "none", "-m 5", "-m 5 -machine pc-q35-7.2" },
  { "plain", "-machine q35 -m 5", "-machine pc-q35-7.2 -m 5" },
  { "short", "-M pc,accel=tcg", "-M pc-q35-7.2,accel=tcg" },
  { "long", "--machine accel=tcg,type=q35,usb=off", "-machine accel=tcg,type=pc-q35-7.2,usb=off" },
  { "twice", "-M pc -machine type=q35,smm=off -machine vmport=off",
    "-M pc-q35-7.2 -machine type=pc-q35-7.2,smm=off -machine vmport=off" },
  { "without-type", "-machine accel=kvm", "-machine accel=kvm -machine pc-q35-7.2" },
  { "same", "-M pc-q35-7.2,a=b,,c", NULL },
  { "broken", "-machine {", NULL, "-machine {: " },
};

static gboolean
pin_machine (QsnapCommand *command,
             const QsnapAdaptContext *context,
             const CommandCase *test,
             GError **error)
{
  return qsnap_command_pin_machine (command, "pc-q35-7.2", error);
}

int
main (int argc, char *argv[])
{
  g_test_init (&argc, &argv, NULL);

  g_test_add_func ("/command/round-trip", test_round_trip);
  g_test_add_func ("/command/options", test_options);
  g_test_add_func ("/command/programs", test_programs);
  g_test_add_func ("/command/nothing", test_nothing);
  g_test_add_func ("/command/devices", test_devices);
  g_test_add_func ("/command/props/list", test_props_list);
  g_test_add_func ("/command/props/json", test_props_json);
  g_test_add_func ("/command/props/bad", test_props_bad);
  g_test_add_func ("/command/props/odd", test_props_odd);
  command_cases_add ("/command/machine", machines, G_N_ELEMENTS (machines), pin_machine);

  return g_test_run ();
}
