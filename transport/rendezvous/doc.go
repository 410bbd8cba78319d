// Package rendezvous lets the ranks of a job find each other. [Detect] reads the rank of this
// process from the environment that a launcher has set. [Meet] connects all ranks to rank 0, checks
// that they agree about the job, and returns the addresses of all ranks to each.
package rendezvous
