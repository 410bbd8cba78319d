// Package collective has the operations in which all ranks of a job take part: barrier, broadcast,
// all-gather, reduce-scatter and all-reduce, over any [transport.Transport].
//
// Sums of float32 are taken over a binary tree, in an order that does not depend on timing, so
// every rank has the same bits, on every run and every transport. [Comm.AllReduceTree] makes them
// independent of the number of ranks too. [Comm.AllReduceQuantized] sends fewer bytes: numbers of
// few bits, with error feedback.
//
// An argument that does not fit is an error on the rank that gives it, at once, and nothing is
// sent: the others wait for its call.
package collective
