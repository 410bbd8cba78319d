/* alltoallv.c: MPI_Alltoallv over the counts of a file, and back. The file has the number of ranks, of cases and of rounds, then for each
 * case the bytes from every rank to every rank, sender by sender. Rank 0 prints for each case and round the nanoseconds that the slowest
 * rank took there and back, and at the end how many bytes were wrong. */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void die(const char *why) {
  fprintf(stderr, "alltoallv: %s\n", why);
  MPI_Abort(MPI_COMM_WORLD, 1);
}

static uint8_t byte_of(int from, int to, int i) { return (uint8_t)(from * 37 + to * 11 + i); }

static long slowest(double seconds) {
  double most;
  MPI_Reduce(&seconds, &most, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
  return (long)(most * 1e9);
}

int main(int argc, char **argv) {
  int rank, ranks, want, cases, rounds;
  long wrong = 0, all_wrong;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  FILE *f = argc == 2 ? fopen(argv[1], "r") : NULL;
  if (!f || fscanf(f, "%d %d %d", &want, &cases, &rounds) != 3 || want != ranks) die("no file of counts for these ranks");
  int *out = calloc(4 * ranks, sizeof *out), *in = out + ranks, *out_at = in + ranks, *in_at = out_at + ranks;
  for (int c = 0; c < cases; c++) {
    for (int from = 0; from < ranks; from++) {
      for (int to = 0; to < ranks; to++) {
        int n;
        if (fscanf(f, "%d", &n) != 1) die("counts end early");
        if (from == rank) out[to] = n;
        if (to == rank) in[from] = n;
      }
    }
    for (int r = 1; r < ranks; r++) {
      out_at[r] = out_at[r - 1] + out[r - 1];
      in_at[r] = in_at[r - 1] + in[r - 1];
    }
    int sent = out_at[ranks - 1] + out[ranks - 1], received = in_at[ranks - 1] + in[ranks - 1];
    uint8_t *rows = malloc(sent + 1), *got = malloc(received + 1), *home = calloc(1, sent + 1);
    if (!rows || !got || !home) die("no memory");
    for (int r = 0; r < ranks; r++) {
      for (int i = 0; i < out[r]; i++) rows[out_at[r] + i] = byte_of(rank, r, i);
    }
    for (int k = 0; k <= rounds; k++) { /* the first is not timed */
      MPI_Barrier(MPI_COMM_WORLD);
      double begin = MPI_Wtime();
      MPI_Alltoallv(rows, out, out_at, MPI_BYTE, got, in, in_at, MPI_BYTE, MPI_COMM_WORLD);
      long there = slowest(MPI_Wtime() - begin);
      MPI_Barrier(MPI_COMM_WORLD);
      begin = MPI_Wtime();
      MPI_Alltoallv(got, in, in_at, MPI_BYTE, home, out, out_at, MPI_BYTE, MPI_COMM_WORLD);
      long back = slowest(MPI_Wtime() - begin);
      if (rank == 0 && k > 0) printf("%d %ld %ld\n", c, there, back);
    }
    for (int r = 0; r < ranks; r++) {
      for (int i = 0; i < in[r]; i++) wrong += got[in_at[r] + i] != byte_of(r, rank, i);
      for (int i = 0; i < out[r]; i++) wrong += home[out_at[r] + i] != byte_of(rank, r, i);
    }
    free(rows);
    free(got);
    free(home);
  }
  MPI_Reduce(&wrong, &all_wrong, 1, MPI_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
  if (rank == 0) printf("wrong %ld\n", all_wrong);
  MPI_Finalize();
  return 0;
}
