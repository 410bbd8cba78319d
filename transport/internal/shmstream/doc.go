// Package shmstream makes data streams of shared memory between processes of one machine and one
// user.
//
// # Memory
//
// A pair of ranks shares one sealed memfd with a ring of bytes for each direction; each rank
// besides owns an [Arena], a sealed memfd that its peers map for reading only. All of it is passed
// as descriptors over a Unix socket in the abstract namespace, whose other end must be a process of
// the same user. Nothing has a name in a file system, so nothing is left behind by a process that
// is killed.
//
// # Trust
//
// A peer can write anything at any time into the memory that both can write. Its positions are read
// once, checked against the ring's size, and kept where it cannot reach; bytes are copied out
// before they are looked at. Seals keep the memory from shrinking beneath a reader.
//
// # Waiting
//
// An end that sleeps says so in the shared memory, and the other then writes to its eventfd: so a
// stream can be waited for beside sockets, timers and other streams in one system call, which a
// futex could not. While nobody sleeps no system call is made.
package shmstream
