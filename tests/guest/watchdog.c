/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A driver for the i6300esb, as far as it is needed to let it bark: Debian's cloud kernel has none for any watchdog that
 * QEMU emulates. Registers as in Intel's datasheet of the 6300ESB I/O controller hub, chapter 16.
 */

#define _GNU_SOURCE
#include "watchdog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PCI_DEVICES "/sys/bus/pci/devices"
#define VENDOR "0x8086"
#define DEVICE "0x25ab"
#define REGISTERS_SIZE 4096

/* In the configuration space. */
#define CONFIG_REGISTER 0x60
#define CONFIG_NO_INTERRUPT 0x0003 /* a prescaler for about 1 kHz, and the output enabled, are zeros */
#define LOCK_REGISTER 0x68
#define LOCK_ENABLE 0x02

/* In memory: two timers, one after the other. */
#define TIMER_1 0x0
#define TIMER_2 0x4
#define RELOAD 0xc
#define RELOAD_NOW 0x100

static bool
has_line (const char *folder, const char *name, const char *wanted)
{
  char path[300], line[16] = "";
  FILE *file;

  snprintf (path, sizeof path, "%s/%s", folder, name);
  file = fopen (path, "re");
  if (file == NULL)
    return false;
  if (fgets (line, sizeof line, file) != NULL)
    line[strcspn (line, "\n")] = 0;
  fclose (file);
  return strcmp (line, wanted) == 0;
}

static bool
find_device (char *folder, size_t size)
{
  DIR *devices = opendir (PCI_DEVICES);
  struct dirent *entry;
  bool found = false;

  while (!found && devices != NULL && (entry = readdir (devices)) != NULL)
    {
      snprintf (folder, size, PCI_DEVICES "/%.32s", entry->d_name);
      found = has_line (folder, "vendor", VENDOR) && has_line (folder, "device", DEVICE);
    }
  if (devices != NULL)
    closedir (devices);
  if (!found)
    errno = ENODEV;
  return found;
}

static int
open_file_of (const char *folder, const char *name)
{
  char path[300];

  snprintf (path, sizeof path, "%s/%s", folder, name);
  return open (path, O_RDWR | O_CLOEXEC | O_SYNC);
}

static bool
write_at (const char *folder, const char *name, const void *data, size_t size, off_t offset)
{
  int fd = open_file_of (folder, name);
  bool written = fd >= 0 && pwrite (fd, data, size, offset) == (ssize_t) size;

  if (fd >= 0)
    close (fd);
  return written;
}

/* Each write to a register needs the key again. */
static void
unlock (volatile uint8_t *registers)
{
  *(volatile uint16_t *) (registers + RELOAD) = 0x80;
  *(volatile uint16_t *) (registers + RELOAD) = 0x86;
}

static void
set_timers (volatile uint8_t *registers, uint32_t ticks)
{
  unlock (registers);
  *(volatile uint32_t *) (registers + TIMER_1) = ticks;
  unlock (registers);
  *(volatile uint32_t *) (registers + TIMER_2) = ticks;
  unlock (registers);
  *(volatile uint16_t *) (registers + RELOAD) = RELOAD_NOW;
}

bool
watchdog_start (unsigned milliseconds)
{
  const uint16_t config = CONFIG_NO_INTERRUPT;
  const uint8_t lock = LOCK_ENABLE;
  char folder[100];
  void *registers;
  int fd;

  if (!find_device (folder, sizeof folder) || !write_at (folder, "enable", "1", 1, 0))
    return false;

  fd = open_file_of (folder, "resource0");
  if (fd < 0)
    return false;
  registers = mmap (NULL, REGISTERS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close (fd);
  if (registers == MAP_FAILED)
    return false;

  set_timers (registers, milliseconds / 2 + 1);
  munmap (registers, REGISTERS_SIZE);
  return write_at (folder, "config", &config, sizeof config, CONFIG_REGISTER) &&
         write_at (folder, "config", &lock, sizeof lock, LOCK_REGISTER);
}
