/* mpi.c: MPI_Alltoall under the protocol of protocol.h. */
#include <mpi.h>

#include "protocol.h"

static void exchange(void *context, const uint8_t *send, uint8_t *recv, size_t bytes, unsigned iteration) {
  (void)context;
  (void)iteration; /* MPI tells one collective from the next by their order */
  MPI_Alltoall(send, (int)bytes, MPI_BYTE, recv, (int)bytes, MPI_BYTE, MPI_COMM_WORLD);
}

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  if (argc < 3) die("usage: mpi DIR BYTES:WARMUP:ITERATIONS...");
  char version[64];
  snprintf(version, sizeof version, "%d.%d.%d", OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION, OMPI_RELEASE_VERSION);
  struct job j = {0, 0, version, exchange, NULL};
  MPI_Comm_rank(MPI_COMM_WORLD, &j.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &j.ranks);
  run_steps(&j, argv[1], argc - 2, argv + 2);
  MPI_Finalize();
  return 0;
}
