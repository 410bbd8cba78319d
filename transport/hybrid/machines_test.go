//go:build linux && !purego

package hybrid

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// machines are network namespaces that stand for machines, connected by one cable each to a bridge
// of their own namespace. They go with the test.
type machines struct {
	t     *testing.T
	names []string
	dir   string // of their hosts files
}

// connect makes n machines with the addresses 10.77.0.1, 10.77.0.2 … on the interface wire0 of the
// first, wire1 of the second, and so on.
func connect(t *testing.T, n int) *machines {
	if os.Geteuid() != 0 {
		t.Skip("only root can make network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs iproute2")
	}
	m := &machines{t: t, dir: t.TempDir()}
	prefix := fmt.Sprintf("sw%d", os.Getpid())
	bridge := prefix + "b"
	m.make(bridge)
	m.ip("-n", bridge, "link", "add", "bridge", "type", "bridge")
	m.ip("-n", bridge, "link", "set", "bridge", "up")
	for i := range n {
		name := fmt.Sprint(prefix, "m", i)
		m.make(name)
		m.names = append(m.names, name)
		port, wire := fmt.Sprint("port", i), fmt.Sprint("wire", i)
		m.ip("-n", bridge, "link", "add", port, "type", "veth", "peer", "name", wire, "netns", name)
		m.ip("-n", bridge, "link", "set", port, "master", "bridge", "up")
		m.ip("-n", name, "link", "set", "lo", "up")
		m.ip("-n", name, "addr", "add", fmt.Sprintf("10.77.0.%d/24", i+1), "dev", wire)
		m.ip("-n", name, "addr", "add", fmt.Sprintf("fe80::77:%d/64", i+1), "dev", wire, "nodad")
		m.ip("-n", name, "link", "set", wire, "up")
	}
	return m
}

func (m *machines) make(name string) {
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		m.t.Skipf("no network namespaces: %s", out)
	}
	m.t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
}

func (m *machines) ip(args ...string) {
	m.t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	require.NoError(m.t, err, "ip %s: %s", strings.Join(args, " "), out)
}

// on has a process run on machine i, with these lines in its hosts file.
func (m *machines) on(i int, hosts string) func(cmd *exec.Cmd) {
	file := filepath.Join(m.dir, fmt.Sprint("hosts", i))
	require.NoError(m.t, os.WriteFile(file, []byte("127.0.0.1 localhost\n"+hosts+"\n"), 0o644))
	return func(cmd *exec.Cmd) {
		script := `mount --bind "$0" /etc/hosts && exec "$@"`
		args := append([]string{"unshare", "-m", "ip", "netns", "exec", m.names[i], "unshare", "-m", "sh", "-c", script, file, cmd.Path}, cmd.Args[1:]...)
		path, err := exec.LookPath("unshare")
		require.NoError(m.t, err)
		cmd.Path, cmd.Args = path, args
	}
}

// with adds variables to what change does.
func with(change func(*exec.Cmd), variables ...string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, variables...)
		change(cmd)
	}
}

// TestNameOfDebiansHostsFile: rank 0's machine knows its own name as 127.0.1.1, the other one as
// its address.
func TestNameOfDebiansHostsFile(t *testing.T) {
	m := connect(t, 2)
	zero, other := m.on(0, "127.0.1.1 node0"), m.on(1, "10.77.0.1 node0")
	t.Run("with Insecure", func(t *testing.T) {
		all := []*joiner{
			startJoiner(t, "node0:29400", "hybrid", 0, 3, "", with(zero, joinOpen)), startJoiner(t, "node0:29400", "hybrid", 1, 3, "", with(zero, joinOpen)),
			startJoiner(t, "node0:29400", "hybrid", 2, 3, "", with(other, joinOpen)),
		}
		for rank, ways := range []string{"[inproc shm tcp]", "[shm inproc tcp]", "[tcp tcp inproc]"} {
			require.Equal(t, "ways "+ways, all[rank].line("ways"), "rank %d", rank)
		}
	})
	t.Run("without", func(t *testing.T) {
		begin := time.Now()
		local := joinLocal + "=2"
		for rank := range 2 {
			j := startJoiner(t, "node0:29400", "hybrid", rank, 3, "", with(zero, local))
			require.Contains(t, j.line("culprit"), "only 2 of 3 ranks run on this machine: configure Security or set Insecure", "rank %d", rank)
		}
		j := startJoiner(t, "node0:29400", "hybrid", 2, 3, "", with(other, joinLocal+"=1"))
		require.Contains(t, j.line("culprit"), "is not loopback")
		require.Less(t, time.Since(begin), time.Minute, "it is said at once")
	})
	t.Run("all ranks on it", func(t *testing.T) {
		local := joinLocal + "=2"
		all := []*joiner{
			startJoiner(t, "node0:29400", "tcp", 0, 2, "", with(zero, local)), startJoiner(t, "node0:29400", "tcp", 1, 2, "", with(zero, local)),
		}
		for _, j := range all {
			require.Contains(t, j.line("culprit"), "culprit -1 <nil>")
		}
	})
}

// TestMachinesMeetByLinkLocalAddress: the zone of rank 0's address is another one on each machine.
func TestMachinesMeetByLinkLocalAddress(t *testing.T) {
	m := connect(t, 3)
	var all []*joiner
	for rank := range 3 {
		addr := fmt.Sprintf("[fe80::77:1%%wire%d]:29400", rank)
		all = append(all, startJoiner(t, addr, "tcp", rank, 3, "", with(m.on(rank, ""), joinOpen, joinTimeout+"=30s")))
	}
	for rank, j := range all {
		require.Contains(t, j.line("culprit"), "culprit -1 <nil>", "rank %d", rank)
	}
}

// TestMachineWithIPv6LoopbackAlone: launchers that give no address have ranks meet on 127.0.0.1,
// which is not there.
func TestMachineWithIPv6LoopbackAlone(t *testing.T) {
	m := connect(t, 1)
	m.ip("-n", m.names[0], "addr", "del", "127.0.0.1/8", "dev", "lo")
	for _, addr := range []string{"127.0.0.1:29400", "[::1]:29400", "localhost:29400"} {
		var all []*joiner
		for rank := range 2 {
			all = append(all, startJoiner(t, addr, "hybrid", rank, 2, "", m.on(0, "::1 localhost")))
		}
		for rank, j := range all {
			require.Contains(t, j.line("culprit"), "culprit -1 <nil>", "rank %d at %s", rank, addr)
		}
	}
}

// TestRouteMayAppearLate: rank 1 starts before its machine has an address.
func TestRouteMayAppearLate(t *testing.T) {
	m := connect(t, 2)
	m.ip("-n", m.names[1], "addr", "del", "10.77.0.2/24", "dev", "wire1")
	one := startJoiner(t, "10.77.0.1:29400", "tcp", 1, 2, "", with(m.on(1, ""), joinOpen))
	require.Contains(t, one.line("log"), "unreachable")
	m.ip("-n", m.names[1], "addr", "add", "10.77.0.2/24", "dev", "wire1")
	zero := startJoiner(t, "10.77.0.1:29400", "tcp", 0, 2, "", with(m.on(0, ""), joinOpen))
	require.Contains(t, zero.line("culprit"), "culprit -1 <nil>")
	require.Contains(t, one.line("culprit"), "culprit -1 <nil>")
}

// TestFilteredRouteIsTheReason: the network between two ranks refuses, after they have met through
// rank 0.
func TestFilteredRouteIsTheReason(t *testing.T) {
	for kind, reason := range map[string]string{"prohibit": "permission denied", "unreachable": "no route to host"} {
		t.Run(kind, func(t *testing.T) {
			m := connect(t, 3)
			m.ip("-n", m.names[2], "route", "add", kind, "10.77.0.2/32")
			var all [3]*joiner
			// Rank 0 decides when its time is nearly up, after the reports of the others.
			for _, rank := range []int{2, 1, 0} {
				all[rank] = startJoiner(t, "10.77.0.1:29400", "tcp", rank, 3, "", with(m.on(rank, ""), joinOpen, joinTimeout+"=8s"))
			}
			for rank, j := range all {
				line := j.line("culprit")
				require.Contains(t, line, "culprit 1 ", "rank %d", rank)
				require.Contains(t, line, reason, "rank %d", rank)
				require.Contains(t, line, "dial 10.77.0.2:", "rank %d", rank)
			}
		})
	}
}
