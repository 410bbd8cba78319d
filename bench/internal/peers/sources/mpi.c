/* mpi.c: MPI_Alltoall under the protocol of protocol.h, or with -DPOSTED what our transport over MPI asks of MPI: every
 * message posted at once, and all awaited. */
#include <mpi.h>

#include "protocol.h"

#ifdef POSTED
enum { MOST_RANKS = 64 };

static void exchange(void *context, const uint8_t *send, uint8_t *recv, size_t bytes, unsigned iteration) {
  MPI_Request requests[2 * MOST_RANKS];
  const struct job *j = context;
  int posted = 0;
  (void)iteration; /* messages of a pair come in order */
  for (int i = 1; i < j->ranks; i++) {
    int from = (j->rank + j->ranks - i) % j->ranks;
    MPI_Irecv(recv + from * bytes, (int)bytes, MPI_BYTE, from, 0, MPI_COMM_WORLD, &requests[posted++]);
  }
  for (int i = 1; i < j->ranks; i++) {
    int to = (j->rank + i) % j->ranks;
    MPI_Isend(send + to * bytes, (int)bytes, MPI_BYTE, to, 0, MPI_COMM_WORLD, &requests[posted++]);
  }
  memcpy(recv + j->rank * bytes, send + j->rank * bytes, bytes);
  MPI_Waitall(posted, requests, MPI_STATUSES_IGNORE);
}
#else
static void exchange(void *context, const uint8_t *send, uint8_t *recv, size_t bytes, unsigned iteration) {
  (void)context;
  (void)iteration; /* MPI tells one collective from the next by their order */
  MPI_Alltoall(send, (int)bytes, MPI_BYTE, recv, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
}
#endif

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  if (argc < 3) die("usage: mpi DIR BYTES:WARMUP:ITERATIONS...");
  char version[64];
  snprintf(version, sizeof version, "%d.%d.%d", OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION, OMPI_RELEASE_VERSION);
  struct job j = {0, 0, version, exchange, NULL};
  MPI_Comm_rank(MPI_COMM_WORLD, &j.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &j.ranks);
  j.context = &j;
  run_steps(&j, argv[1], argc - 2, argv + 2);
  MPI_Finalize();
  return 0;
}
