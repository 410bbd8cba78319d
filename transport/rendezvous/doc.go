// Package rendezvous is how the ranks of a job find each other: [Detect] learns from the
// environment that a launcher has set who this process is, and [Meet] brings all ranks together at
// rank 0, checks that they agree about the job, and tells each where every other one listens.
package rendezvous
