//go:build !linux

package netns

import (
	"context"
	"errors"
)

// Cluster exists on Linux alone.
type Cluster struct{}

// Network and Interface are empty where there are no namespaces.
const Network, Interface = "", ""

// New returns an error: namespaces need Linux.
func New(context.Context, int, int, int) (*Cluster, error) {
	return nil, errors.New("a cluster of network namespaces needs Linux; nothing was measured")
}

// Command returns program as it is.
func (*Cluster) Command(program ...string) []string { return program }

// Limit does nothing.
func (*Cluster) Limit(context.Context, int) error { return nil }

// Remove does nothing.
func (*Cluster) Remove() error { return nil }

// Agent returns nothing.
func (*Cluster) Agent() string { return "" }

// OnFirst returns the command as it is.
func (*Cluster) OnFirst(c []string) []string { return c }

// Address returns nothing.
func Address(int) string { return "" }
