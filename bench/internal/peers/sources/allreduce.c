/* allreduce.c COUNT ITERATIONS...: MPI_Allreduce of float32 sums of COUNT numbers, so often, after one that is not timed. Each begins when all
 * ranks are ready and takes as long as its slowest. Rank 0 prints for each count the 50th and the 99th percentile in nanoseconds, and how
 * many numbers were wrong. The numbers, and which of them are checked, are those of bench/allreduce/rank.go. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { probe = 4099 };

static float number(int rank, long i, int iteration) { return (float)((i + 3 * rank + 5 * iteration) & 63); }

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double percentile(const double *sorted, int n, int p) {
  int at = (n * p + 99) / 100 - 1;
  return sorted[at < 0 ? 0 : at];
}

static long count_wrong(const float *x, long count, int ranks, int iteration, long step) {
  long wrong = 0;
  for (long i = 0; i < count; i += step) {
    float want = 0;
    for (int r = 0; r < ranks; r++) want += number(r, i, iteration);
    wrong += x[i] != want;
  }
  return wrong;
}

static void measure(long count, int iterations) {
  int rank, ranks;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  float *in = malloc(count * sizeof *in), *out = malloc(count * sizeof *out);
  double *mine = malloc((iterations + 1) * sizeof *mine), *slowest = malloc((iterations + 1) * sizeof *slowest);
  if (!in || !out || !mine || !slowest) MPI_Abort(MPI_COMM_WORLD, 1);
  long wrong = 0, all_wrong = 0;
  for (int k = 0; k <= iterations; k++) {
    for (long i = 0; i < count; i++) in[i] = number(rank, i, k);
    MPI_Barrier(MPI_COMM_WORLD);
    double begin = MPI_Wtime();
    MPI_Allreduce(in, out, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    mine[k] = MPI_Wtime() - begin;
    wrong += count_wrong(out, count, ranks, k, k == 0 || k == iterations ? 1 : probe);
  }
  MPI_Reduce(mine, slowest, iterations + 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
  MPI_Reduce(&wrong, &all_wrong, 1, MPI_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
  if (rank == 0) {
    qsort(slowest + 1, iterations, sizeof *slowest, ascending);
    printf("sum %ld %.0f %.0f %ld\n", count, 1e9 * percentile(slowest + 1, iterations, 50), 1e9 * percentile(slowest + 1, iterations, 99), all_wrong);
    fflush(stdout);
  }
  free(in), free(out), free(mine), free(slowest);
}

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  for (int a = 1; a + 1 < argc; a += 2) measure(atol(argv[a]), atoi(argv[a + 1]));
  MPI_Finalize();
  return 0;
}
