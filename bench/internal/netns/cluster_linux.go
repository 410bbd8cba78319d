package netns

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Cluster is nodes, each a network namespace, behind a switch: a bridge in a namespace of its own.
// Every node's link is held to a rate in both directions.
type Cluster struct {
	prefix string // of the namespaces' names; the node, or switchName, follows
	nodes  int
	each   int // ranks of a node
}

const switchName = "s"

// Interface is a node's network interface. Its name has two letters, as torch overlooks one.
const Interface = "e0"

// congestion is TCP's congestion control, which differs from machine to machine: reno is in every
// kernel.
const congestion = "reno"

// New makes nodes of each ranks, behind links of rate Mbit/s; 0 is as fast as the machine.
func New(ctx context.Context, nodes, each, rate int) (*Cluster, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root; nothing was measured")
	}
	c := &Cluster{prefix: fmt.Sprintf("sy%dn", os.Getpid()), nodes: nodes, each: each}
	if err := c.make(ctx, rate); err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	return c, nil
}

func (c *Cluster) namespace(name any) string { return fmt.Sprint(c.prefix, name) }

// Address is that of a node in the network that only these namespaces know.
func Address(node int) string { return fmt.Sprintf("10.214.0.%d", node+1) }

func (c *Cluster) make(ctx context.Context, rate int) error {
	center := c.namespace(switchName)
	do := func(args ...string) error { return System(ctx, "ip", args...) }
	if err := errors.Join(do("netns", "add", center),
		do("-n", center, "link", "add", "name", "sw", "type", "bridge"), do("-n", center, "link", "set", "sw", "up")); err != nil {
		return err
	}
	for i := range c.nodes {
		here, port := c.namespace(i), fmt.Sprint("p", i)
		for _, args := range [][]string{
			{"netns", "add", here},
			{"link", "add", Interface, "netns", here, "type", "veth", "peer", "name", port, "netns", center},
			{"netns", "exec", here, "sysctl", "-qw", "net.ipv4.tcp_congestion_control=" + congestion},
			{"-n", here, "link", "set", "lo", "up"},
			{"-n", here, "addr", "add", Address(i) + "/24", "dev", Interface},
			{"-n", here, "link", "set", Interface, "up"},
			{"-n", center, "link", "set", port, "master", "sw", "up"},
		} {
			if err := do(args...); err != nil {
				return err
			}
		}
	}
	return c.Limit(ctx, rate)
}

// Limit holds every link to rate Mbit/s both ways, or frees it with 0. What waits is bounded well
// above what TCP has under way.
func (c *Cluster) Limit(ctx context.Context, rate int) error {
	for i := range c.nodes {
		for _, end := range [][2]string{{c.namespace(i), Interface}, {c.namespace(switchName), fmt.Sprint("p", i)}} {
			args := []string{"-n", end[0], "qdisc", "replace", "dev", end[1], "root", "pfifo_fast"}
			if rate > 0 {
				args = append(args[:len(args)-1], "tbf", "rate", fmt.Sprintf("%dmbit", rate), "burst", "128kb", "limit", "16mb")
			}
			if err := System(ctx, "tc", args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// Command is that of a program as a rank within its node's namespace. It replaces the variables of
// package launch that say that all ranks are on one machine: ranks of different namespaces meet at
// the address of the first, not on loopback.
func (c *Cluster) Command(program ...string) []string {
	script := fmt.Sprintf(`unset SWITCHYARD_ADDR
export MASTER_ADDR=%[2]s GROUP_RANK=$((RANK / %[1]d)) LOCAL_RANK=$((RANK %% %[1]d)) LOCAL_WORLD_SIZE=%[1]d
exec ip netns exec "$0$GROUP_RANK" "$@"`, c.each, Address(0))
	return append([]string{"sh", "-c", script, c.prefix}, program...)
}

// Remove deletes the namespaces, and with them the links.
func (c *Cluster) Remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), RemoveTimeout)
	defer cancel()
	names := []any{switchName}
	for i := range c.nodes {
		names = append(names, i)
	}
	var errs []error
	for _, name := range names {
		if _, err := os.Stat("/run/netns/" + c.namespace(name)); err == nil {
			errs = append(errs, System(ctx, "ip", "netns", "del", c.namespace(name)))
		}
	}
	return errors.Join(errs...)
}

// Network is that of the nodes' addresses.
const Network = "10.214.0.0/24"

// Agent is a script in the place of ssh: its first argument that is no option is a node's address.
// Every node has a host name of its own.
func (c *Cluster) Agent() string {
	return fmt.Sprintf(`#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
n=$((${1##*.} - 1))
shift
exec ip netns exec %s$n unshare -u sh -c "hostname node$n; $*"
`, c.prefix)
}

// OnFirst is a command on the first node.
func (c *Cluster) OnFirst(command []string) []string {
	return append([]string{"ip", "netns", "exec", c.namespace(0), "unshare", "-u", "sh", "-c", `hostname node0; exec "$@"`, "sh"}, command...)
}
