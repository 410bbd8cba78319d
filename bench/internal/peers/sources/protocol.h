/*
 * protocol.h: what the peer programs share with our own ranks, whose copy of it is bench/internal/payload/pattern.go,
 * bench/measure.go and bench/protocol.go. Change them together.
 *
 * A program is called as
 *
 *     PROGRAM DIR BYTES:WARMUP:ITERATIONS...
 *
 * and each of its ranks runs the steps in order and writes DIR/rank.R: a line "version V", for each step a line
 * "step BYTES WRONG NS NS NS...", and a line "end".
 *
 * All iterations of a step run back to back, as an all-to-all makes ranks wait for each other by itself. Timed
 * is the exchange alone. What travels in iteration i are the bytes of the sender's pattern from offset(i) on, so
 * every byte depends on sender, receiver, iteration and position, and no time goes into filling buffers. Bytes
 * are checked between the timed sections: some in every iteration, all in the first and in the last.
 */
#ifndef SWITCHYARD_BENCH_PROTOCOL_H
#define SWITCHYARD_BENCH_PROTOCOL_H

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GRAIN = 64, PLACES = 1021, STRIDE = 389, PROBES = 8 };

/* exchange_fn sends bytes at send + r * bytes to each rank r, and gets as much from r at recv + r * bytes. */
typedef void (*exchange_fn)(void *context, const uint8_t *send, uint8_t *recv, size_t bytes, unsigned iteration);

/* job is a rank's place in the world and the means to exchange. */
struct job {
  int rank, ranks;
  const char *version;
  exchange_fn exchange;
  void *context;
};

static void die(const char *what) {
  fprintf(stderr, "peer: %s\n", what);
  exit(1);
}

/* word is the eight bytes of sender's pattern from byte 8 * index on. */
static uint64_t word(int sender, uint64_t index) {
  uint64_t z = ((uint64_t)(sender + 1) << 40) + index;
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* byte_at is one byte of sender's pattern; words lie in it with the lowest byte first. */
static uint8_t byte_at(int sender, uint64_t position) {
  return (uint8_t)(word(sender, position / 8) >> (8 * (position % 8)));
}

static size_t offset(unsigned iteration) { return (size_t)GRAIN * ((uint64_t)iteration * STRIDE % PLACES); }

/* fill writes the pattern of sender from its start; length is a multiple of 8. */
static void fill(uint8_t *to, size_t length, int sender) {
  for (size_t i = 0; i < length; i += 8) {
    uint64_t w = word(sender, i / 8);
    memcpy(to + i, &w, 8); /* this and ours run on one machine, whose words have the lowest byte first */
  }
}

/* probe checks a few bytes of every block and returns how many are wrong. */
static uint64_t probe(const struct job *j, const uint8_t *recv, size_t bytes, unsigned iteration) {
  uint64_t wrong = 0;
  for (int sender = 0; sender < j->ranks; sender++) {
    uint64_t start = offset(iteration) + (uint64_t)j->rank * bytes;
    for (size_t k = 0; k < PROBES; k++) {
      size_t at = k * (bytes - 1) / (PROBES - 1);
      wrong += recv[(size_t)sender * bytes + at] != byte_at(sender, start + at);
    }
  }
  return wrong;
}

/* check checks every byte and returns how many are wrong. */
static uint64_t check(const struct job *j, const uint8_t *recv, size_t bytes, unsigned iteration) {
  uint64_t wrong = 0;
  for (int sender = 0; sender < j->ranks; sender++) {
    uint64_t position = offset(iteration) + (uint64_t)j->rank * bytes;
    const uint8_t *block = recv + (size_t)sender * bytes;
    uint64_t expected = word(sender, position / 8);
    for (size_t i = 0; i < bytes; i++, position++) {
      if (position % 8 == 0) expected = word(sender, position / 8);
      wrong += block[i] != (uint8_t)(expected >> (8 * (position % 8)));
    }
  }
  return wrong;
}

static int64_t nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* run_step runs one step and writes its line. */
static void run_step(const struct job *j, FILE *out, const char *step, const uint8_t *send, uint8_t *recv) {
  size_t bytes;
  unsigned warmup, iterations;
  if (sscanf(step, "%zu:%u:%u", &bytes, &warmup, &iterations) != 3) die("a step is BYTES:WARMUP:ITERATIONS");
  unsigned total = warmup + iterations;
  int64_t *took = (int64_t *)calloc(total, sizeof *took);
  if (!took) die("out of memory");
  uint64_t wrong = 0;
  for (unsigned i = 0; i < total; i++) {
    const uint8_t *from = send + offset(i);
    int64_t start = nanoseconds();
    j->exchange(j->context, from, recv, bytes, i);
    took[i] = nanoseconds() - start;
    wrong += i == 0 || i == total - 1 ? check(j, recv, bytes, i) : probe(j, recv, bytes, i);
  }
  fprintf(out, "step %zu %" PRIu64, bytes, wrong);
  for (unsigned i = warmup; i < total; i++) fprintf(out, " %" PRId64, took[i]);
  fprintf(out, "\n");
  free(took);
}

static uint8_t *pages(size_t length) {
  void *p = NULL;
  if (posix_memalign(&p, 4096, length) != 0) die("out of memory");
  return (uint8_t *)p;
}

/* run_steps runs all steps and writes the rank's result file. */
static void run_steps(const struct job *j, const char *dir, int count, char **steps) {
  size_t largest = 0;
  for (int i = 0; i < count; i++) {
    size_t bytes = strtoull(steps[i], NULL, 10);
    if (bytes > largest) largest = bytes;
  }
  size_t length = (size_t)j->ranks * largest;
  size_t pattern = (length + (size_t)GRAIN * PLACES + 7) / 8 * 8;
  uint8_t *send = pages(pattern), *recv = pages(length);
  fill(send, pattern, j->rank);
  memset(recv, 0, length);

  char path[4096];
  snprintf(path, sizeof path, "%s/rank.%d", dir, j->rank);
  FILE *out = fopen(path, "w");
  if (!out) die("cannot write the result file");
  fprintf(out, "version %s\n", j->version);
  for (int i = 0; i < count; i++) run_step(j, out, steps[i], send, recv);
  fprintf(out, "end\n");
  if (fclose(out) != 0) die("cannot write the result file");
  free(send);
  free(recv);
}

#endif
