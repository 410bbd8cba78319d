//go:build !linux

package main

import (
	"context"
	"errors"
	"time"
)

// cluster exists on Linux alone.
type cluster struct{}

const clusterNetwork, clusterInterface = "", ""

func newCluster(context.Context, int, int, int) (*cluster, error) {
	return nil, errors.New("a cluster of network namespaces needs Linux; nothing was measured")
}

func (*cluster) command(program ...string) []string { return program }
func (*cluster) limit(context.Context, int) error   { return nil }
func (*cluster) remove() error                      { return nil }
func (*cluster) agent() string                      { return "" }
func (*cluster) onFirst(c []string) []string        { return c }
func nodeAddress(int) string                        { return "" }
func processorTime() time.Duration                  { return 0 }
