// Package netns makes a small cluster within a Linux machine: each node is a network namespace
// behind a link of a set rate.
package netns
