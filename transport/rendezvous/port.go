package rendezvous

import (
	"hash/fnv"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"
)

const (
	// firstPort and portSpan are the range of ports derived from a job's name: below the range from
	// which Linux takes ephemeral ports (32768 to 60999), so that no connection of the machine
	// holds one by chance.
	firstPort = 20000
	portSpan  = 12000
	// leastPort is the first port that needs no privilege.
	leastPort = 1024
	maxPort   = 65535
)

// portOf derives a port from a job's name: the same for all its ranks, probably another for another
// job.
func portOf(job string) int { return portWithin(job, firstPort, portSpan) }

func portWithin(job string, first, span int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(job))
	return first + int(h.Sum32()%uint32(span))
}

// localPort is portOf for ranks of one machine, which all see the same range of ephemeral ports. If
// that range overlaps ours, the port is taken from below or above it, where more ports are, unless
// both have fewer than portSpan/10.
func (e *env) localPort(job string) int {
	low, high, ok := e.ephemeral()
	if !ok || high < firstPort || low >= firstPort+portSpan {
		return portOf(job)
	}
	below, above := low-leastPort, maxPort-high
	switch {
	case max(below, above) < portSpan/10:
		return portOf(job)
	case above > below:
		return portWithin(job, high+1, above)
	}
	return portWithin(job, max(leastPort, low-portSpan), min(below, portSpan))
}

// ephemeral is the range of this machine's ephemeral ports.
func (e *env) ephemeral() (low, high int, ok bool) {
	if e.proc == nil {
		return 0, 0, false
	}
	text, err := fs.ReadFile(e.proc, "sys/net/ipv4/ip_local_port_range")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) != 2 {
		return 0, 0, false
	}
	low, errLow := strconv.Atoi(fields[0])
	high, errHigh := strconv.Atoi(fields[1])
	return low, high, errLow == nil && errHigh == nil && 0 < low && low <= high && high <= maxPort
}

// loopback is the address at which the ranks of one machine meet: 127.0.0.1, or ::1 if the machine
// has only that.
func (e *env) loopback() string {
	addrs, _ := e.addrs()
	found := "127.0.0.1"
	for _, a := range addrs {
		switch {
		case a.Is4() && a.IsLoopback():
			return a.String()
		case a == netip.IPv6Loopback():
			found = a.String()
		}
	}
	return found
}
