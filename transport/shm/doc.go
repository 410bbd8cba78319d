// Package shm is the transport between processes of one machine and one user, through shared
// memory. It needs Linux.
//
// A message is copied into a ring that sender and receiver share, and out of it. One that lies in
// memory from [Transport.Alloc] is sent in place instead, and copied once: the receiver gathers it
// straight from the sender's memory into its own buffers. How messages are matched, how a rank
// waits without wasting a processor, and how faults are found and reported is the same as over TCP
// (transport/internal/mesh).
//
// # Security
//
// All shared memory is anonymous, sealed against shrinking, and passed over Unix sockets whose
// other end must belong to the same user; nothing of it has a name that could be left behind or
// opened by others. Peers can read what lies in [Transport.Alloc]'s memory, and only that. What a
// peer writes is read once and checked before use. Processes of the same user are trusted no
// further than that, but the system lets them do worse (debug each other) in any case.
//
// # Meeting
//
// Ranks meet as over TCP, at rank 0's address, which must be loopback; once they have met, no
// socket of any kind listens. They must share a network namespace and a user; hybrid finds out
// whether they do.
package shm
