// Package hybrid is the transport that reaches each peer by the fastest way there is: memory of the
// process for ranks that are goroutines of one, shared memory for processes of one machine and
// user, TCP for all others. It is what switchyard.Join opens.
//
// All ways end in one engine (transport/internal/mesh), so one Exchange moves and waits over all of
// them at once, without a goroutine for any, and errors, deadlines and order are those of TCP.
//
// # Who is near
//
// At the rendezvous every rank publishes a random name of its process, and of its host a digest of
// boot, network namespace and user. Ranks with the same process share memory as it is; those with
// the same host share memory as package shm describes; a container with a network of its own counts
// as a host of its own. Where two of those cannot share memory after all, because the system takes
// them for different users or memory or descriptors are short, the pair speaks TCP and both log
// why: the higher rank, which opens the connection, finds out and comes over TCP instead.
// [Transport.Way] says which it was.
package hybrid
