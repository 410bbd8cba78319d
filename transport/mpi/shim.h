/* shim.h: what the engine asks of MPI, many requests a call. */
#ifndef SWITCHYARD_TRANSPORT_MPI_SHIM_H
#define SWITCHYARD_TRANSPORT_MPI_SHIM_H

#include <stddef.h>
#include <stdint.h>

/* The kinds of a command and the structs below are the same in port.go. */
enum { SY_SEND_FRAME, SY_SEND_DATA, SY_RECV_DATA };

typedef struct {
  int32_t kind, peer, tag, id;
  int64_t bytes;
  int32_t first, count;
} sy_command;

typedef struct {
  uintptr_t base;
  int64_t bytes;
} sy_piece;

typedef struct {
  int32_t slot, peer;
  int64_t bytes;
} sy_arrival;

typedef struct {
  int32_t id, code;
  int64_t bytes;
} sy_completion;

typedef struct sy_port sy_port;

/* Functions that return int return an MPI error code, 0 for success. */

/* sy_start initializes MPI unless that has been done; started says whether it has. */
int sy_start(int *started);
int sy_finish(void);
/* sy_ready reports whether MPI can be used now, by one thread after another. */
int sy_ready(int *initialised, int *finalised, int *serial);
/* sy_open makes a port for the first size ranks of the world, or all if size is 0. */
int sy_open(int size, int in_slots, int out_slots, size_t frame_bytes, int max_events, sy_port **port);
/* sy_free frees a port. clean says that nothing is under way; else MPI keeps the communicator. */
int sy_free(sy_port *port, int clean);

int sy_rank(const sy_port *port);
int sy_size(const sy_port *port);
int sy_local(const sy_port *port); /* ranks on this machine */
int sy_tag_limit(const sy_port *port);
int sy_yields(const sy_port *port); /* MPI gives up the processor by itself when it finds nothing */
int sy_world_size(int *size);
uint8_t *sy_inbound(sy_port *port);
uint8_t *sy_outbound(sy_port *port);
int32_t *sy_interrupt(sy_port *port);

/* sy_gather collects bytes of every rank at every rank. */
int sy_gather(sy_port *port, const void *mine, void *all, int bytes);

/* sy_turn gives back the slots of the last turn's arrivals, starts the commands and polls up to
 * spins times until something has happened or *sy_interrupt is not 0. If patient, events of
 * outgoing frames do not count. done has room for these commands and for all requests under way. */
int sy_turn(sy_port *port, const sy_command *commands, int count, const sy_piece *pieces, int spins, int patient, int yield_every,
            sy_arrival *arrivals, int *arrived, sy_completion *done, int *completed);

/* sy_cancel takes back a receiving request that no message has matched, and says whether it did. */
int sy_cancel(sy_port *port, int32_t id, int *cancelled);

/* sy_error writes the words for a code into text, which has room for at least sy_error_bytes. */
int sy_error_bytes(void);
void sy_error(int code, char *text);

#endif
