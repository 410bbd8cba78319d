//go:build mpi && cgo

#include "shim.h"

#include <mpi.h>
#include <sched.h>
#include <stdlib.h>

enum {
  FRAME_TAG = 0,
  WINDOW = 8 /* slots of the ring that are tested at once */
};

/* try returns from a function that returns a code when a call of MPI has failed. */
#define try(call)                           \
  do {                                      \
    int code_ = (call);                     \
    if (code_ != MPI_SUCCESS) return code_; \
  } while (0)

struct sy_port {
  MPI_Comm comm;
  int rank, size, local, tag_limit;
  int in_slots, max_events;
  size_t frame_bytes;
  uint8_t *inbound, *outbound;

  /* The incoming slots are a ring of persistent receives. They match in order, and slots are handed
   * out in order too. */
  MPI_Request *ring;
  struct { int ready, peer, bytes; } *arrived; /* of each slot */
  int head, lent; /* lent: slots before head that the last turn has handed out */

  /* The requests under way, and the ids by which the engine knows them. While they are tested, the
   * next few of the ring follow them: one call of MPI, which yields the processor when it finds
   * nothing, tests them all. */
  MPI_Request *requests;
  int32_t *ids;
  int count, room, windowed; /* windowed: how many of the ring follow, or -1 if not known */
  int *indices;
  MPI_Status *statuses;

  int yields; /* MPI gives up the processor by itself when it finds nothing */
  int32_t interrupt;
};

int sy_ready(int *initialised, int *finalised, int *serial) {
  int level = 0;
  try(MPI_Initialized(initialised));
  try(MPI_Finalized(finalised));
  if (*initialised && !*finalised) try(MPI_Query_thread(&level));
  *serial = level >= MPI_THREAD_SERIALIZED;
  return 0;
}

int sy_start(int *started) {
  int level = 0;
  try(MPI_Initialized(started));
  *started = !*started;
  if (*started) try(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level));
  return 0;
}

int sy_finish(void) { return MPI_Finalize(); }

int sy_world_size(int *size) { return MPI_Comm_size(MPI_COMM_WORLD, size); }

/* communicator makes one of the first size ranks of the world. */
static int communicator(int size, MPI_Comm *comm) {
  if (size == 0) return MPI_Comm_dup(MPI_COMM_WORLD, comm);
  MPI_Group world, first;
  int range[1][3] = {{0, size - 1, 1}};
  try(MPI_Comm_group(MPI_COMM_WORLD, &world));
  try(MPI_Group_range_incl(world, 1, range, &first));
  try(MPI_Comm_create_group(MPI_COMM_WORLD, first, 0, comm));
  try(MPI_Group_free(&first));
  return MPI_Group_free(&world);
}

static int describe(sy_port *p) {
  MPI_Comm here;
  int *limit, found;
  try(MPI_Comm_set_errhandler(p->comm, MPI_ERRORS_RETURN));
  try(MPI_Comm_rank(p->comm, &p->rank));
  try(MPI_Comm_size(p->comm, &p->size));
  try(MPI_Comm_get_attr(p->comm, MPI_TAG_UB, &limit, &found));
  p->tag_limit = found ? *limit : 32767; /* what the standard guarantees */
  try(MPI_Comm_split_type(p->comm, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &here));
  try(MPI_Comm_size(here, &p->local));
  return MPI_Comm_free(&here);
}

/* find_yields asks MPI's tools interface whether it yields. Only Open MPI knows the variable. */
static int find_yields(sy_port *p) {
  int level, index, values = 0;
  MPI_T_cvar_handle variable;
  if (MPI_T_init_thread(MPI_THREAD_SERIALIZED, &level) != MPI_SUCCESS) return 0;
  if (MPI_T_cvar_get_index("mpi_yield_when_idle", &index) == MPI_SUCCESS &&
      MPI_T_cvar_handle_alloc(index, NULL, &variable, &values) == MPI_SUCCESS) {
    int value[8] = {0}; /* a bool or an int, at most eight of them */
    if (values <= 8 && MPI_T_cvar_read(variable, value) == MPI_SUCCESS) p->yields = value[0] != 0;
    MPI_T_cvar_handle_free(&variable);
  }
  return MPI_T_finalize();
}

static int open_ring(sy_port *p) {
  for (int i = 0; i < p->in_slots; i++) {
    try(MPI_Recv_init(p->inbound + i * p->frame_bytes, (int)p->frame_bytes, MPI_BYTE, MPI_ANY_SOURCE, FRAME_TAG, p->comm, &p->ring[i]));
  }
  return MPI_Startall(p->in_slots, p->ring);
}

/* reserve makes room for more requests. */
static int reserve(sy_port *p, int more) {
  if (p->count + more + WINDOW <= p->room) return 0;
  int room = 2 * (p->count + more + WINDOW);
  MPI_Request *requests = realloc(p->requests, room * sizeof *requests);
  if (requests) p->requests = requests;
  int32_t *ids = realloc(p->ids, room * sizeof *ids);
  if (ids) p->ids = ids;
  int *indices = realloc(p->indices, room * sizeof *indices);
  if (indices) p->indices = indices;
  MPI_Status *statuses = realloc(p->statuses, room * sizeof *statuses);
  if (statuses) p->statuses = statuses;
  if (!requests || !ids || !indices || !statuses) return MPI_ERR_NO_MEM;
  p->room = room;
  return 0;
}

static void release(sy_port *p) {
  free(p->inbound);
  free(p->outbound);
  free(p->ring);
  free(p->arrived);
  free(p->requests);
  free(p->ids);
  free(p->indices);
  free(p->statuses);
  free(p);
}

int sy_open(int size, int in_slots, int out_slots, size_t frame_bytes, int max_events, sy_port **port) {
  sy_port *p = calloc(1, sizeof *p);
  if (!p) return MPI_ERR_NO_MEM;
  p->in_slots = in_slots;
  p->max_events = max_events;
  p->frame_bytes = frame_bytes;
  p->inbound = malloc(in_slots * frame_bytes);
  p->outbound = malloc(out_slots * frame_bytes);
  p->ring = calloc(in_slots, sizeof *p->ring);
  p->arrived = calloc(in_slots, sizeof *p->arrived);
  int code = p->inbound && p->outbound && p->ring && p->arrived ? reserve(p, out_slots) : MPI_ERR_NO_MEM;
  if (code == 0) code = communicator(size, &p->comm);
  if (code != 0) {
    release(p);
    return code;
  }
  p->windowed = -1;
  *port = p;
  try(describe(p));
  try(find_yields(p));
  return open_ring(p);
}

int sy_free(sy_port *p, int clean) {
  for (int k = p->lent; k < p->in_slots; k++) { /* the others are not started */
    int i = (p->head + k - p->lent) % p->in_slots;
    if (p->arrived[i].ready) continue;
    try(MPI_Cancel(&p->ring[i]));
    try(MPI_Wait(&p->ring[i], MPI_STATUS_IGNORE));
  }
  for (int i = 0; i < p->in_slots; i++) try(MPI_Request_free(&p->ring[i]));
  if (p->count > 0) return 0; /* MPI still uses the memory of some of them */
  if (clean) try(MPI_Comm_free(&p->comm));
  release(p);
  return 0;
}

int sy_rank(const sy_port *p) { return p->rank; }
int sy_size(const sy_port *p) { return p->size; }
int sy_local(const sy_port *p) { return p->local; }
int sy_tag_limit(const sy_port *p) { return p->tag_limit; }
int sy_yields(const sy_port *p) { return p->yields; }
uint8_t *sy_inbound(sy_port *p) { return p->inbound; }
uint8_t *sy_outbound(sy_port *p) { return p->outbound; }
int32_t *sy_interrupt(sy_port *p) { return &p->interrupt; }

int sy_gather(sy_port *p, const void *mine, void *all, int bytes) {
  return MPI_Allgather(mine, bytes, MPI_BYTE, all, bytes, MPI_BYTE, p->comm);
}

/* scattered makes the datatype of a message that lies in several pieces, at absolute addresses. */
static int scattered(const sy_piece *pieces, int count, MPI_Datatype *type) {
  int *lengths = malloc(count * sizeof *lengths);
  MPI_Aint *places = malloc(count * sizeof *places);
  int code = MPI_ERR_NO_MEM;
  if (lengths && places) {
    for (int i = 0; i < count; i++) {
      lengths[i] = (int)pieces[i].bytes;
      places[i] = (MPI_Aint)pieces[i].base;
    }
    code = MPI_Type_create_hindexed(count, lengths, places, MPI_BYTE, type);
    if (code == 0) code = MPI_Type_commit(type);
  }
  free(lengths);
  free(places);
  return code;
}

static int start_data(sy_port *p, const sy_command *c, const sy_piece *pieces, MPI_Request *request) {
  void *at = MPI_BOTTOM;
  int n = 1;
  MPI_Datatype type = MPI_BYTE;
  if (c->count == 1) {
    at = (void *)pieces->base;
    n = (int)pieces->bytes;
  } else {
    try(scattered(pieces, c->count, &type));
  }
  int code = c->kind == SY_SEND_DATA ? MPI_Isend(at, n, type, c->peer, c->tag, p->comm, request)
                                     : MPI_Irecv(at, n, type, c->peer, c->tag, p->comm, request);
  if (type != MPI_BYTE) MPI_Type_free(&type); /* which lasts as long as the request */
  return code;
}

/* start starts one request. */
static int start(sy_port *p, const sy_command *c, const sy_piece *pieces) {
  MPI_Request request;
  if (c->kind == SY_SEND_FRAME) {
    try(MPI_Isend(p->outbound + c->first * p->frame_bytes, (int)c->bytes, MPI_BYTE, c->peer, FRAME_TAG, p->comm, &request));
  } else {
    try(start_data(p, c, pieces + c->first, &request));
  }
  p->requests[p->count] = request;
  p->ids[p->count++] = c->kind == SY_SEND_FRAME ? ~c->id : c->id; /* a frame's are below 0 */
  return 0;
}

/* window puts the next slots of the ring behind the requests, unless they stand there. */
static void window(sy_port *p) {
  if (p->windowed >= 0) return;
  p->windowed = p->in_slots - p->lent < WINDOW ? p->in_slots - p->lent : WINDOW;
  for (int k = 0; k < p->windowed; k++) p->requests[p->count + k] = p->ring[(p->head + k) % p->in_slots];
}

/* collect hands out the frames that are next. */
static void collect(sy_port *p, sy_arrival *arrivals, int *arrived) {
  while (*arrived < p->max_events && p->arrived[p->head].ready) {
    arrivals[(*arrived)++] = (sy_arrival){p->head, p->arrived[p->head].peer, p->arrived[p->head].bytes};
    p->arrived[p->head].ready = 0;
    p->head = (p->head + 1) % p->in_slots;
    p->lent++;
    p->windowed = -1;
  }
}

/* sort takes in what has completed: request index i of those tested. data counts transfers. */
static int sort(sy_port *p, int i, int wrong, const MPI_Status *status, sy_completion *done, int *completed, int *data) {
  int bytes;
  try(MPI_Get_count(status, MPI_BYTE, &bytes));
  if (i < p->count) {
    int32_t id = p->ids[i];
    *data += id >= 0;
    done[(*completed)++] = (sy_completion){id >= 0 ? id : ~id, wrong, bytes};
    p->windowed = -1;
    return 0;
  }
  int slot = (p->head + i - p->count) % p->in_slots;
  p->arrived[slot].ready = 1;
  p->arrived[slot].peer = status->MPI_SOURCE;
  p->arrived[slot].bytes = bytes;
  return wrong;
}

/* poll tests everything once, and adds to done what is. */
static int poll(sy_port *p, sy_completion *done, int *completed, int *data) {
  int n = 0, kept = 0, before = *completed;
  window(p);
  int code = MPI_Testsome(p->count + p->windowed, p->requests, &n, p->indices, p->statuses);
  if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS) return code;
  for (int k = 0; k < n; k++) {
    int wrong = code == MPI_ERR_IN_STATUS ? p->statuses[k].MPI_ERROR : 0;
    try(sort(p, p->indices[k], wrong, &p->statuses[k], done, completed, data));
  }
  if (*completed == before) return 0;
  for (int i = 0; i < p->count; i++) {
    if (p->requests[i] == MPI_REQUEST_NULL) continue;
    p->requests[kept] = p->requests[i];
    p->ids[kept++] = p->ids[i];
  }
  p->count = kept;
  return 0;
}

int sy_turn(sy_port *p, const sy_command *commands, int count, const sy_piece *pieces, int spins, int patient, int yield_every,
            sy_arrival *arrivals, int *arrived, sy_completion *done, int *completed) {
  int data = 0;
  *arrived = *completed = 0;
  if (p->lent + count > 0) p->windowed = -1;
  for (; p->lent > 0; p->lent--) try(MPI_Start(&p->ring[(p->head + p->in_slots - p->lent) % p->in_slots]));
  try(reserve(p, count));
  for (int i = 0; i < count; i++) try(start(p, &commands[i], pieces));
  for (int spin = 1;; spin++) {
    try(poll(p, done, completed, &data));
    collect(p, arrivals, arrived);
    if (*arrived + data > 0 || (*completed > 0 && !patient)) return 0;
    if (spin > spins || __atomic_load_n(&p->interrupt, __ATOMIC_RELAXED)) return 0;
    if (spin % yield_every == 0) sched_yield();
  }
}

/* forget takes request i out of the list. */
static void forget(sy_port *p, int i) {
  p->windowed = -1;
  p->count--;
  p->requests[i] = p->requests[p->count];
  p->ids[i] = p->ids[p->count];
}

int sy_cancel(sy_port *p, int32_t id, int *cancelled) {
  *cancelled = 0;
  for (int i = 0; i < p->count; i++) {
    if (p->ids[i] != id) continue;
    int flag;
    MPI_Status status;
    try(MPI_Cancel(&p->requests[i]));
    try(MPI_Request_get_status(p->requests[i], &flag, &status));
    if (!flag) return 0;
    try(MPI_Test_cancelled(&status, cancelled));
    if (!*cancelled) return 0; /* it is done, and the next turn says so */
    try(MPI_Request_free(&p->requests[i]));
    forget(p, i);
    return 0;
  }
  return 0;
}

int sy_error_bytes(void) { return MPI_MAX_ERROR_STRING + 1; }

void sy_error(int code, char *text) {
  int n = 0;
  if (MPI_Error_string(code, text, &n) != MPI_SUCCESS) n = 0;
  text[n] = 0;
}
