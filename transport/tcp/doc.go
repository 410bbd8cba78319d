// Package tcp is the transport between processes: a full mesh of TCP connections.
//
// Every pair of ranks shares two connections, one for messages and one for heartbeats, farewells
// and aborts. How messages are matched and moved, and how faults are found and reported, is the
// same for all transports between processes and written in package transport/internal/mesh: no
// goroutine stands between the caller and the socket, and a rank that breaks the job is named by
// all others.
//
// A connection opens with a hello of fixed size in both directions (transport/internal/meshjoin);
// frames follow, with a checksum each for header and payload.
package tcp
