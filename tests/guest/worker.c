/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The test guest's only program (it is PID 1): keeps disk and RAM in lockstep, so that a snapshot whose disks and memory
 * are not of one instant, or whose memory is not, gives itself away as soon as it is resumed.
 *
 *   ttyS0  the console: READY, TORN, BADPAGE and FATAL lines, among the kernel's
 *   ttyS1  the command channel: "ID COMMAND [ARGUMENTS]" is answered with one line, "ID ok …" or "ID error …"
 *
 * Disks: step n of a disk writes a block that holds n into slot n mod 16. RAM remembers which step each slot holds, and
 * all slots are compared with it before each step. So a tear of two steps or more cannot hide: the steps that only one
 * side has seen lie in slots of their own for the next 16 steps.
 *
 * Memory: each page carries its index, a generation, noise and a checksum. A table beside the pages knows each page's
 * generation too, so that a page which is sound but of another instant is found as well.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "peer.h"
#include "watchdog.h"

#define MAGIC 0x71736e6170776b72ULL /* "qsnapwkr" */
#define SLOT_SIZE 4096
#define N_SLOTS 16
#define SLOTS_OFFSET (1 << 20)
#define SCRATCH_OFFSET (4 << 20) /* write-random stays behind the slots */
#define SCRATCH_BLOCK (64 << 10)
#define MAX_DISKS 16
#define MAX_BAD_LINES 50

#define PAGE_SIZE 4096
#define PAGE_WORDS (PAGE_SIZE / 8 - 3)
#define PAGES_PER_MIB 256
#define N_PAGE_LOCKS 64
#define PAGES_PER_BATCH 16
#define VERIFY_BATCHES_PER_SECOND 100

#define RATE_MAX (-1L)
#define DEFAULT_STEPS_PER_SECOND 100
#define NS_PER_SECOND 1000000000LL
#define NOT_WRITTEN UINT64_MAX

#define EFI_GUID "71736e61-7067-7565-7374-000000000001"

typedef struct
{
  uint64_t magic;
  uint64_t boot_id;
  uint64_t disk;
  uint64_t step;
  uint64_t noise[SLOT_SIZE / 8 - 5];
  uint64_t checksum; /* of everything before it */
} Block;

typedef struct
{
  uint64_t index;
  uint64_t generation;
  uint64_t noise[PAGE_WORDS];
  uint64_t checksum;
} Page;

_Static_assert (sizeof (Block) == SLOT_SIZE, "a block is a block");
_Static_assert (sizeof (Page) == PAGE_SIZE, "a page is a page");

typedef struct
{
  char name[32];
  unsigned index;
  int fd;         /* O_DIRECT | O_DSYNC, for the slots */
  int scratch_fd; /* O_DIRECT, for write-random */
  uint64_t size;
  pthread_mutex_t mutex;       /* held over a step, so that a check sees none half done */
  uint64_t expected[N_SLOTS];  /* what RAM remembers; NOT_WRITTEN is not compared */
  _Atomic uint64_t steps;
  Block *slots; /* one aligned buffer for all */
  Block *block;
} Disk;

/* The pages: replaced as a whole by "fill" (write lock), used by all the others (read lock). */
typedef struct
{
  pthread_rwlock_t lock;
  Page *pages;
  uint32_t *generations;
  uint64_t n_pages;
  pthread_mutex_t page_locks[N_PAGE_LOCKS];
} Memory;

static uint64_t boot_id;
static int console_fd;
static Disk disks[MAX_DISKS];
static unsigned n_disks;
static Memory memory;

static atomic_long steps_per_second = DEFAULT_STEPS_PER_SECOND;
static atomic_long dirty_batches_per_second;
static atomic_long scratch_mib_left;
static atomic_int checks_waiting;
static atomic_bool is_ending; /* the kernel takes the disks away while threads still use them: no fault of theirs */

static _Atomic uint64_t n_torn;
static _Atomic uint64_t n_bad_pages;
static _Atomic uint64_t n_pages_verified;
static _Atomic uint64_t n_pages_dirtied;
static _Atomic uint64_t n_ticks;
static _Atomic uint64_t max_gap_us;

/* Small things */

static void say (const char *format, ...) __attribute__ ((format (printf, 1, 2)));

static void
say (const char *format, ...)
{
  char line[512];
  va_list args;
  int length;

  va_start (args, format);
  length = vsnprintf (line, sizeof line - 1, format, args);
  va_end (args);
  if (length > (int) sizeof line - 2)
    length = sizeof line - 2;
  line[length++] = '\n';
  if (write (console_fd, line, length) != length)
    return; /* nowhere left to complain to */
}

static void
fatal (const char *what, const char *name)
{
  if (!atomic_load (&is_ending))
    say ("FATAL %s %s: %s", what, name, strerror (errno));
  for (;;)
    pause ();
}

static int64_t
now_ns (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return time.tv_sec * NS_PER_SECOND + time.tv_nsec;
}

static void
sleep_until (int64_t time_ns)
{
  struct timespec time = { time_ns / NS_PER_SECOND, time_ns % NS_PER_SECOND };

  while (clock_nanosleep (CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR)
    ;
}

/* Waits for the next turn of something that happens RATE times a second; a turn that was missed is not made up for. */
static void
wait_for_turn (atomic_long *rate, int64_t *last)
{
  long per_second;

  while ((per_second = atomic_load (rate)) == 0)
    sleep_until (now_ns () + NS_PER_SECOND / 100);

  if (per_second != RATE_MAX)
    sleep_until (*last + NS_PER_SECOND / per_second);
  *last = now_ns ();
}

static uint64_t
next_random (uint64_t *state)
{
  uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

static void
fill_with_noise (uint64_t *words, size_t n_words, uint64_t seed)
{
  uint64_t x = next_random (&seed) | 1;

  for (size_t i = 0; i < n_words; i++)
    {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
      words[i] = x;
    }
}

static uint64_t
checksum_of (const uint64_t *words, size_t n_words)
{
  uint64_t sum = MAGIC;

  for (size_t i = 0; i < n_words; i++)
    sum = ((sum << 7 | sum >> 57) ^ words[i]) * 0x100000001b3ULL;
  return sum;
}

static void *
allocate_aligned (size_t size)
{
  void *buffer = NULL;

  if (posix_memalign (&buffer, SLOT_SIZE, size) != 0)
    fatal ("no memory for", "a buffer");
  memset (buffer, 0, size);
  return buffer;
}

static void
start_thread (void *(*function) (void *), void *data, int fifo_priority)
{
  pthread_t thread;
  struct sched_param parameters = { .sched_priority = fifo_priority };

  if ((errno = pthread_create (&thread, NULL, function, data)) != 0)
    fatal ("cannot start", "a thread");
  if (fifo_priority > 0)
    pthread_setschedparam (thread, SCHED_FIFO, &parameters);
  pthread_detach (thread);
}

/* Lockstep of disk and RAM */

static void
compose_block (Block *block, const Disk *disk, uint64_t step)
{
  block->magic = MAGIC;
  block->boot_id = boot_id;
  block->disk = disk->index;
  block->step = step;
  fill_with_noise (block->noise, sizeof block->noise / 8, boot_id ^ step);
  block->checksum = checksum_of ((uint64_t *) block, SLOT_SIZE / 8 - 1);
}

static bool
block_is_sound (const Block *block)
{
  return block->magic == MAGIC && block->checksum == checksum_of ((const uint64_t *) block, SLOT_SIZE / 8 - 1);
}

static void
report_torn (const Disk *disk, int slot, const Block *found)
{
  char what[48];

  if (!block_is_sound (found))
    snprintf (what, sizeof what, "garbage");
  else if (found->boot_id != boot_id || found->disk != disk->index)
    snprintf (what, sizeof what, "foreign");
  else
    snprintf (what, sizeof what, "%llu", (unsigned long long) found->step);

  if (atomic_fetch_add (&n_torn, 1) < MAX_BAD_LINES)
    say ("TORN device=%s slot=%d ram=%llu disk=%s", disk->name, slot, (unsigned long long) disk->expected[slot], what);
}

static bool
slot_is_as_expected (const Disk *disk, int slot)
{
  const Block *found = &disk->slots[slot];

  return disk->expected[slot] == NOT_WRITTEN
         || (found->step == disk->expected[slot] && found->boot_id == boot_id && found->disk == disk->index
             && block_is_sound (found));
}

/* Returns how many slots were compared. Call with the disk's mutex. */
static unsigned
compare_slots_with_ram (Disk *disk)
{
  const size_t size = N_SLOTS * SLOT_SIZE;
  unsigned n_compared = 0;

  if (pread (disk->fd, disk->slots, size, SLOTS_OFFSET) != (ssize_t) size)
    fatal ("cannot read", disk->name);

  for (int slot = 0; slot < N_SLOTS; slot++)
    {
      n_compared += disk->expected[slot] != NOT_WRITTEN;
      if (slot_is_as_expected (disk, slot))
        continue;
      report_torn (disk, slot, &disk->slots[slot]);
      disk->expected[slot] = NOT_WRITTEN; /* reported once; compared again once it has been written again */
    }
  return n_compared;
}

static void
take_step (Disk *disk)
{
  uint64_t step = atomic_load (&disk->steps) + 1;
  int slot = step % N_SLOTS;

  compose_block (disk->block, disk, step);
  if (pwrite (disk->fd, disk->block, SLOT_SIZE, SLOTS_OFFSET + slot * SLOT_SIZE) != SLOT_SIZE)
    fatal ("cannot write", disk->name);
  disk->expected[slot] = step;
  atomic_store (&disk->steps, step);
}

static void *
lockstep_thread (void *data)
{
  Disk *disk = data;
  int64_t last = now_ns ();

  for (;;)
    {
      wait_for_turn (&steps_per_second, &last);
      while (atomic_load (&checks_waiting) > 0)
        sleep_until (now_ns () + NS_PER_SECOND / 1000);

      pthread_mutex_lock (&disk->mutex);
      if (atomic_load (&steps_per_second) != 0) /* else stopped while we waited for the mutex */
        {
          compare_slots_with_ram (disk);
          take_step (disk);
        }
      pthread_mutex_unlock (&disk->mutex);
    }
  return NULL;
}

static unsigned
check_disks (void)
{
  unsigned n_compared = 0;

  atomic_fetch_add (&checks_waiting, 1);
  for (unsigned i = 0; i < n_disks; i++)
    {
      pthread_mutex_lock (&disks[i].mutex);
      n_compared += compare_slots_with_ram (&disks[i]);
      pthread_mutex_unlock (&disks[i].mutex);
    }
  atomic_fetch_sub (&checks_waiting, 1);
  return n_compared;
}

/* write-random: load for the disks, not checked */

static void
write_scratch_block (Disk *disk, void *buffer, uint64_t *random)
{
  uint64_t n_blocks = (disk->size - SCRATCH_OFFSET) / SCRATCH_BLOCK;
  uint64_t offset = SCRATCH_OFFSET + next_random (random) % n_blocks * SCRATCH_BLOCK;

  fill_with_noise (buffer, SCRATCH_BLOCK / 8, next_random (random));
  if (pwrite (disk->scratch_fd, buffer, SCRATCH_BLOCK, offset) != SCRATCH_BLOCK)
    fatal ("cannot write to", disk->name);
}

static void *
scratch_thread (void *data)
{
  void *buffer = allocate_aligned (SCRATCH_BLOCK);
  uint64_t random = boot_id;

  (void) data;
  for (;;)
    {
      if (atomic_load (&scratch_mib_left) <= 0)
        {
          sleep_until (now_ns () + NS_PER_SECOND / 100);
          continue;
        }
      for (unsigned i = 0; i < n_disks; i++)
        for (int n = 0; n < (1 << 20) / SCRATCH_BLOCK && disks[i].size > SCRATCH_OFFSET + SCRATCH_BLOCK; n++)
          write_scratch_block (&disks[i], buffer, &random);
      atomic_fetch_sub (&scratch_mib_left, 1);
    }
  return NULL;
}

/* Memory */

static void
compose_page (uint64_t index, uint64_t generation)
{
  Page *page = &memory.pages[index];

  page->index = index;
  page->generation = generation;
  fill_with_noise (page->noise, PAGE_WORDS, boot_id ^ index << 32 ^ generation);
  page->checksum = checksum_of ((uint64_t *) page, PAGE_SIZE / 8 - 1);
  memory.generations[index] = generation;
}

static pthread_mutex_t *
lock_page (uint64_t index)
{
  pthread_mutex_t *mutex = &memory.page_locks[index % N_PAGE_LOCKS];

  pthread_mutex_lock (mutex);
  return mutex;
}

static void
dirty_page (uint64_t index)
{
  pthread_mutex_t *mutex = lock_page (index);

  compose_page (index, memory.generations[index] + 1);
  pthread_mutex_unlock (mutex);
  atomic_fetch_add (&n_pages_dirtied, 1);
}

static void
verify_page (uint64_t index)
{
  pthread_mutex_t *mutex = lock_page (index);
  const Page *page = &memory.pages[index];
  bool sum_is_right = page->checksum == checksum_of ((const uint64_t *) page, PAGE_SIZE / 8 - 1);

  if (!sum_is_right || page->index != index || page->generation != memory.generations[index])
    {
      if (atomic_fetch_add (&n_bad_pages, 1) < MAX_BAD_LINES)
        say ("BADPAGE index=%llu holds=%llu generation=%llu expected=%u checksum=%s", (unsigned long long) index,
             (unsigned long long) page->index, (unsigned long long) page->generation, memory.generations[index],
             sum_is_right ? "right" : "wrong");
      compose_page (index, memory.generations[index] + 1); /* reported once */
    }
  pthread_mutex_unlock (mutex);
  atomic_fetch_add (&n_pages_verified, 1);
}

static void
visit_random_pages (void (*visit) (uint64_t index), uint64_t *random)
{
  pthread_rwlock_rdlock (&memory.lock);
  for (int i = 0; i < PAGES_PER_BATCH && memory.n_pages > 0; i++)
    visit (next_random (random) % memory.n_pages);
  pthread_rwlock_unlock (&memory.lock);
}

static void *
dirty_thread (void *data)
{
  uint64_t random = boot_id + 1;
  int64_t last = now_ns ();

  (void) data;
  for (;;)
    {
      wait_for_turn (&dirty_batches_per_second, &last);
      visit_random_pages (dirty_page, &random);
    }
  return NULL;
}

static void *
verify_thread (void *data)
{
  static atomic_long rate = VERIFY_BATCHES_PER_SECOND;
  uint64_t random = boot_id + 2;
  int64_t last = now_ns ();

  (void) data;
  for (;;)
    {
      wait_for_turn (&rate, &last);
      visit_random_pages (verify_page, &random);
    }
  return NULL;
}

static uint64_t
check_pages (void)
{
  uint64_t n_pages;

  pthread_rwlock_rdlock (&memory.lock);
  n_pages = memory.n_pages;
  for (uint64_t i = 0; i < n_pages; i++)
    verify_page (i);
  pthread_rwlock_unlock (&memory.lock);
  return n_pages;
}

static long
available_mib (void)
{
  FILE *file = fopen ("/proc/meminfo", "r");
  char line[128];
  long kib = 0;

  if (file == NULL)
    return 0;
  while (fgets (line, sizeof line, file) != NULL && sscanf (line, "MemAvailable: %ld", &kib) != 1)
    ;
  fclose (file);
  return kib / 1024;
}

static void *
map_anonymous (size_t size)
{
  void *mapping = mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  if (mapping == MAP_FAILED)
    fatal ("no memory for", "pages");
  return mapping;
}

static void
empty_memory (void)
{
  if (memory.n_pages == 0)
    return;
  munmap (memory.pages, memory.n_pages * PAGE_SIZE);
  munmap (memory.generations, memory.n_pages * sizeof *memory.generations);
  memory.n_pages = 0;
}

static bool
fill_memory (long mib)
{
  bool fits;

  pthread_rwlock_wrlock (&memory.lock);
  empty_memory ();
  fits = mib + 16 <= available_mib ();
  if (fits && mib > 0)
    {
      memory.n_pages = (uint64_t) mib * PAGES_PER_MIB;
      memory.pages = map_anonymous (memory.n_pages * PAGE_SIZE);
      memory.generations = map_anonymous (memory.n_pages * sizeof *memory.generations);
      for (uint64_t i = 0; i < memory.n_pages; i++)
        compose_page (i, 1);
    }
  pthread_rwlock_unlock (&memory.lock);
  return fits;
}

static void
prepare_memory (void)
{
  pthread_rwlockattr_t attributes;

  pthread_rwlockattr_init (&attributes);
  pthread_rwlockattr_setkind_np (&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init (&memory.lock, &attributes);
  for (int i = 0; i < N_PAGE_LOCKS; i++)
    pthread_mutex_init (&memory.page_locks[i], NULL);
}

/* Ticks: what the guest itself feels of a capture */

static void *
tick_thread (void *data)
{
  int64_t last = now_ns ();

  (void) data;
  for (;;)
    {
      int64_t now;
      uint64_t gap_us;

      sleep_until (last + NS_PER_SECOND / 1000);
      now = now_ns ();
      gap_us = (now - last) / 1000;
      if (gap_us > atomic_load (&max_gap_us))
        atomic_store (&max_gap_us, gap_us);
      atomic_fetch_add (&n_ticks, 1);
      last = now;
    }
  return NULL;
}

/* EFI variables */

static bool
open_efi_variable (const char *name, int flags, int *fd)
{
  char path[256];
  int inode_flags;

  snprintf (path, sizeof path, "/sys/firmware/efi/efivars/%s-" EFI_GUID, name);
  if ((flags & O_ACCMODE) != O_RDONLY)
    {
      /* efivarfs makes its files immutable against "rm -rf /". */
      int immutable_fd = open (path, O_RDONLY | O_CLOEXEC);
      if (immutable_fd >= 0 && ioctl (immutable_fd, FS_IOC_GETFLAGS, &inode_flags) == 0)
        {
          inode_flags &= ~FS_IMMUTABLE_FL;
          ioctl (immutable_fd, FS_IOC_SETFLAGS, &inode_flags);
        }
      if (immutable_fd >= 0)
        close (immutable_fd);
    }
  *fd = open (path, flags | O_CLOEXEC, 0644);
  return *fd >= 0;
}

static bool
write_efi_variable (const char *name, const char *value)
{
  const uint32_t attributes = 7; /* non-volatile, boot and run time */
  char content[256];
  size_t size = sizeof attributes + strlen (value);
  bool written;
  int fd;

  if (size > sizeof content || !open_efi_variable (name, O_WRONLY | O_CREAT, &fd))
    return false;
  memcpy (content, &attributes, sizeof attributes);
  memcpy (content + sizeof attributes, value, strlen (value));
  written = write (fd, content, size) == (ssize_t) size;
  close (fd);
  return written;
}

static bool
read_efi_variable (const char *name, char *value, size_t size)
{
  char content[256];
  ssize_t length;
  int fd;

  if (!open_efi_variable (name, O_RDONLY, &fd))
    return false;
  length = read (fd, content, sizeof content);
  close (fd);
  if (length < 4 || (size_t) length - 4 >= size)
    return false;
  memcpy (value, content + 4, length - 4);
  value[length - 4] = 0;
  return true;
}

/* Commands */

#define ANSWER_SIZE 1024

static void answer_with (char *answer, const char *format, ...) __attribute__ ((format (printf, 2, 3)));

static void
answer_with (char *answer, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  vsnprintf (answer, ANSWER_SIZE, format, args);
  va_end (args);
}

static void
answer_steps (char *text, size_t size)
{
  size_t length = 0;

  text[0] = 0;
  for (unsigned i = 0; i < n_disks && length < size; i++)
    length += snprintf (text + length, size - length, "%s%llu", i > 0 ? "," : "",
                        (unsigned long long) atomic_load (&disks[i].steps));
}

static void
command_status (const char *arguments, char *answer)
{
  char steps[256];

  (void) arguments;
  answer_steps (steps, sizeof steps);
  answer_with (answer,
               "ok boot=%016llx ndisks=%u steps=%s torn=%llu badpages=%llu verified=%llu dirtied=%llu filled=%llu "
               "ticks=%llu maxgap=%llu scratch=%ld",
               (unsigned long long) boot_id, n_disks, steps, (unsigned long long) atomic_load (&n_torn),
               (unsigned long long) atomic_load (&n_bad_pages), (unsigned long long) atomic_load (&n_pages_verified),
               (unsigned long long) atomic_load (&n_pages_dirtied),
               (unsigned long long) memory.n_pages / PAGES_PER_MIB, (unsigned long long) atomic_load (&n_ticks),
               (unsigned long long) atomic_load (&max_gap_us), atomic_load (&scratch_mib_left));
}

static void
command_gap (const char *arguments, char *answer)
{
  (void) arguments;
  answer_with (answer, "ok maxgap=%llu", (unsigned long long) atomic_exchange (&max_gap_us, 0));
}

/* Where in RAM the host finds the counter of ticks: valid for as long as the kernel does not move that page. */
static void
command_where (const char *arguments, char *answer)
{
  const uint64_t present = 1ULL << 63, frame = (1ULL << 55) - 1;
  uintptr_t address = (uintptr_t) &n_ticks;
  uint64_t entry = 0;
  int fd = open ("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

  (void) arguments;
  if (fd < 0 || pread (fd, &entry, sizeof entry, address / PAGE_SIZE * sizeof entry) != sizeof entry
      || (entry & present) == 0)
    answer_with (answer, "error no physical address");
  else
    answer_with (answer, "ok ticks=%llu", (unsigned long long) ((entry & frame) * PAGE_SIZE + address % PAGE_SIZE));
  if (fd >= 0)
    close (fd);
}

static void
command_check (const char *arguments, char *answer)
{
  unsigned n_slots = check_disks ();
  unsigned long long n_pages = check_pages ();

  (void) arguments;
  answer_with (answer, "ok slots=%u pages=%llu torn=%llu badpages=%llu", n_slots, n_pages,
               (unsigned long long) atomic_load (&n_torn), (unsigned long long) atomic_load (&n_bad_pages));
}

/* "max" or a number; false for anything else. */
static bool
parse_rate (const char *text, long *rate)
{
  char *end;

  if (strcmp (text, "max") == 0)
    {
      *rate = RATE_MAX;
      return true;
    }
  *rate = strtol (text, &end, 10);
  return end != text && *end == 0 && *rate >= 0;
}

static void
command_fill (const char *arguments, char *answer)
{
  long mib;

  if (!parse_rate (arguments, &mib) || mib == RATE_MAX)
    answer_with (answer, "error fill needs a number of MiB");
  else if (!fill_memory (mib))
    answer_with (answer, "error only %ld MiB are free", available_mib ());
  else
    answer_with (answer, "ok filled=%ld", mib);
}

static void
command_dirty (const char *arguments, char *answer)
{
  const long batches_per_mb = 1000000 / (PAGES_PER_BATCH * PAGE_SIZE);
  long rate;

  if (!parse_rate (arguments, &rate))
    {
      answer_with (answer, "error dirty needs MB/s or max");
      return;
    }
  atomic_store (&dirty_batches_per_second, rate == RATE_MAX ? RATE_MAX : rate * batches_per_mb);
  answer_with (answer, "ok");
}

static void
command_rate (const char *arguments, char *answer)
{
  long rate;

  if (!parse_rate (arguments, &rate))
    {
      answer_with (answer, "error rate needs steps a second or max");
      return;
    }
  atomic_store (&steps_per_second, rate);
  answer_with (answer, "ok");
}

/* Answers once no step is under way. */
static void
command_stop_disk (const char *arguments, char *answer)
{
  (void) arguments;
  command_rate ("0", answer);
  for (unsigned i = 0; i < n_disks; i++)
    {
      pthread_mutex_lock (&disks[i].mutex);
      pthread_mutex_unlock (&disks[i].mutex);
    }
}

static void
command_start_disk (const char *arguments, char *answer)
{
  (void) arguments;
  command_rate ("max", answer);
}

/* Exactly that many steps on each disk; for a disk that was stopped. */
static void
command_step (const char *arguments, char *answer)
{
  long n_steps;

  if (!parse_rate (arguments, &n_steps) || n_steps == RATE_MAX)
    {
      answer_with (answer, "error step needs a number of steps");
      return;
    }
  for (unsigned i = 0; i < n_disks; i++)
    for (long n = 0; n < n_steps; n++)
      {
        pthread_mutex_lock (&disks[i].mutex);
        compare_slots_with_ram (&disks[i]);
        take_step (&disks[i]);
        pthread_mutex_unlock (&disks[i].mutex);
      }
  answer_with (answer, "ok");
}

static void
command_write_random (const char *arguments, char *answer)
{
  long mib;

  if (!parse_rate (arguments, &mib) || mib == RATE_MAX)
    {
      answer_with (answer, "error write-random needs a number of MiB");
      return;
    }
  atomic_store (&scratch_mib_left, mib);
  answer_with (answer, "ok");
}

static void
command_efivar_set (const char *arguments, char *answer)
{
  char name[64], value[128];

  if (sscanf (arguments, "%63s %127s", name, value) != 2)
    answer_with (answer, "error efivar-set needs a name and a value");
  else if (!write_efi_variable (name, value))
    answer_with (answer, "error %s", strerror (errno));
  else
    answer_with (answer, "ok");
}

static void
command_efivar_get (const char *arguments, char *answer)
{
  char value[256];

  if (!read_efi_variable (arguments, value, sizeof value))
    answer_with (answer, "error %s", strerror (errno));
  else
    answer_with (answer, "ok value=%s", value);
}

/* What was sent to the other guests and received from them, link by link. */
static void
command_peer (const char *arguments, char *answer)
{
  char numbers[128];

  (void) arguments;
  peer_describe (numbers, sizeof numbers);
  answer_with (answer, "ok %s", numbers);
}

/* On all links whose other end is there; one message is under way on each from then on. */
static void
command_peer_begin (const char *arguments, char *answer)
{
  (void) arguments;
  if (peer_begin ())
    answer_with (answer, "ok");
  else
    answer_with (answer, "error nothing could be sent");
}

static void
command_poweroff (const char *arguments, char *answer)
{
  (void) arguments;
  (void) answer;
  atomic_store (&is_ending, true);
  reboot (RB_POWER_OFF);
}

static void
command_reboot (const char *arguments, char *answer)
{
  (void) arguments;
  (void) answer;
  atomic_store (&is_ending, true);
  reboot (RB_AUTOBOOT);
}

static void
command_panic (const char *arguments, char *answer)
{
  int fd = open ("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

  (void) arguments;
  if (fd < 0 || write (fd, "c", 1) != 1)
    answer_with (answer, "error %s", strerror (errno));
}

/* Milliseconds; what happens then is QEMU's business. */
static void
command_watchdog (const char *arguments, char *answer)
{
  long milliseconds;

  if (!parse_rate (arguments, &milliseconds) || milliseconds == RATE_MAX)
    {
      answer_with (answer, "error watchdog needs a number of milliseconds");
      return;
    }
  if (watchdog_start (milliseconds))
    answer_with (answer, "ok");
  else
    answer_with (answer, "error %s", strerror (errno));
}

static const struct
{
  const char *name;
  void (*run) (const char *arguments, char *answer);
} commands[] = {
  { "status", command_status },
  { "gap", command_gap },
  { "where", command_where },
  { "check", command_check },
  { "fill", command_fill },
  { "dirty", command_dirty },
  { "rate", command_rate },
  { "stop-disk", command_stop_disk },
  { "start-disk", command_start_disk },
  { "step", command_step },
  { "write-random", command_write_random },
  { "efivar-set", command_efivar_set },
  { "efivar-get", command_efivar_get },
  { "peer", command_peer },
  { "peer-begin", command_peer_begin },
  { "poweroff", command_poweroff },
  { "reboot", command_reboot },
  { "panic", command_panic },
  { "watchdog", command_watchdog },
};

static void
run_command (const char *name, const char *arguments, char *answer)
{
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
    if (strcmp (name, commands[i].name) == 0)
      {
        commands[i].run (arguments, answer);
        return;
      }
  answer_with (answer, "error no command '%s'", name);
}

static void
serve_line (int channel_fd, const char *line)
{
  char id[32] = "", name[32] = "", arguments[256] = "";
  char answer[ANSWER_SIZE] = "error nothing happened";

  if (sscanf (line, "%31s %31s %255[^\n]", id, name, arguments) < 2)
    return; /* an empty line ends what was left of a line before a revert */
  run_command (name, arguments, answer);
  dprintf (channel_fd, "%s %s\n", id, answer);
}

static int
open_channel (void)
{
  int fd = open ("/dev/ttyS1", O_RDWR | O_NOCTTY | O_CLOEXEC);
  struct termios settings;

  if (fd < 0 || tcgetattr (fd, &settings) < 0)
    fatal ("no command channel", "ttyS1");
  cfmakeraw (&settings);
  cfsetspeed (&settings, B115200);
  tcsetattr (fd, TCSANOW, &settings);
  return fd;
}

static void
serve_commands (int channel_fd)
{
  char line[512];
  FILE *commands_in = fdopen (channel_fd, "r");

  while (fgets (line, sizeof line, commands_in) != NULL)
    serve_line (channel_fd, line);
  fatal ("lost the command channel", "ttyS1");
}

/* Start */

static bool
read_small_file (const char *path, char *content, size_t size)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  ssize_t length = fd >= 0 ? read (fd, content, size - 1) : -1;

  if (fd >= 0)
    close (fd);
  content[length > 0 ? length : 0] = 0;
  return length >= 0;
}

static bool
is_writable_disk (const char *name)
{
  char path[300], read_only[8], serial[32];

  if (strncmp (name, "vd", 2) != 0 && strncmp (name, "sd", 2) != 0 && strncmp (name, "nvme", 4) != 0)
    return false;
  /* One with a file system is not ours to write to. */
  snprintf (path, sizeof path, "/sys/block/%s/serial", name);
  if (read_small_file (path, serial, sizeof serial) && strncmp (serial, "qsnap-fs", 8) == 0)
    return false;
  snprintf (path, sizeof path, "/sys/block/%s/ro", name);
  return read_small_file (path, read_only, sizeof read_only) && read_only[0] == '0';
}

static int
select_writable_disk (const struct dirent *entry)
{
  return is_writable_disk (entry->d_name);
}

static unsigned
disks_wanted (void)
{
  char command_line[2048];
  const char *option;

  read_small_file ("/proc/cmdline", command_line, sizeof command_line);
  option = strstr (command_line, "qsnap.disks=");
  return option != NULL ? strtoul (option + strlen ("qsnap.disks="), NULL, 10) : 1;
}

static void
open_disk (Disk *disk, const char *name)
{
  char path[64];

  snprintf (disk->name, sizeof disk->name, "%.31s", name);
  snprintf (path, sizeof path, "/dev/%.31s", name);
  disk->index = disk - disks;
  disk->fd = open (path, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
  disk->scratch_fd = open (path, O_RDWR | O_DIRECT | O_CLOEXEC);
  if (disk->fd < 0 || disk->scratch_fd < 0 || ioctl (disk->fd, BLKGETSIZE64, &disk->size) < 0)
    fatal ("cannot open", path);
  disk->slots = allocate_aligned (N_SLOTS * SLOT_SIZE);
  disk->block = allocate_aligned (SLOT_SIZE);
  for (int slot = 0; slot < N_SLOTS; slot++)
    disk->expected[slot] = NOT_WRITTEN;
  pthread_mutex_init (&disk->mutex, NULL);
}

/* A driver that did not load would leave a guest that tests nothing, so the number of disks must be right. */
static void
find_disks (void)
{
  const unsigned wanted = disks_wanted ();
  const int64_t deadline = now_ns () + 20 * NS_PER_SECOND;
  struct dirent **entries = NULL;
  int n_found;

  while ((n_found = scandir ("/sys/block", &entries, select_writable_disk, alphasort)) < (int) wanted)
    {
      if (now_ns () > deadline)
        {
          say ("FATAL no disk: %d of %u found", n_found, wanted);
          for (;;)
            pause ();
        }
      sleep_until (now_ns () + NS_PER_SECOND / 100);
    }
  for (n_disks = 0; n_disks < (unsigned) n_found && n_disks < MAX_DISKS; n_disks++)
    open_disk (&disks[n_disks], entries[n_disks]->d_name);
}

int
main (void)
{
  int channel_fd;

  console_fd = open ("/dev/ttyS0", O_WRONLY | O_NOCTTY | O_CLOEXEC);
  if (getrandom (&boot_id, sizeof boot_id, GRND_INSECURE) != sizeof boot_id)
    fatal ("no", "random number");

  prepare_memory ();
  find_disks ();
  for (unsigned i = 0; i < n_disks; i++)
    start_thread (lockstep_thread, &disks[i], 0);
  start_thread (scratch_thread, NULL, 0);
  start_thread (dirty_thread, NULL, 0);
  start_thread (verify_thread, NULL, 0);
  start_thread (tick_thread, NULL, 10);

  peer_find ();
  channel_fd = open_channel ();
  say ("READY boot=%016llx disks=%u", (unsigned long long) boot_id, n_disks);
  serve_commands (channel_fd);
}
