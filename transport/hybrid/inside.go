package hybrid

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/mesh"
	"github.com/switchyard-moe/switchyard/transport/internal/meshjoin"
)

// meetings is where ranks of one process find each other: by the session, which only ranks of the
// job know. An entry is the end of a way whose other end has been taken, and is gone once both are,
// or one has given up.
var meetings = struct {
	sync.Mutex
	ends map[string]end
}{ends: make(map[string]end)}

// end is one rank's end of a way inside the process.
type end struct {
	data    mesh.Stream
	control net.Conn
}

// meet returns this rank's end of the way between two ranks; the first of them to come makes it.
func meet(key string) end {
	meetings.Lock()
	defer meetings.Unlock()
	if e, ok := meetings.ends[key]; ok {
		delete(meetings.ends, key)
		return e
	}
	var mine, theirs end
	mine.data, theirs.data = mesh.NewPipe()
	mine.control, theirs.control = net.Pipe()
	meetings.ends[key] = theirs
	return mine
}

// meetInside delivers the ways to peers of this process.
func (n *fastPath) meetInside(ctx context.Context, m meshjoin.Meeting, peers []transport.Rank, streams chan<- meshjoin.Opened) {
	for _, r := range peers {
		key := fmt.Sprintf("%x/%d-%d", m.Session, min(r, n.rank), max(r, n.rank))
		e := meet(key)
		n.met = append(n.met, key)
		select {
		case streams <- meshjoin.Opened{Peer: r, Data: e.data, Control: e.control}:
		case <-ctx.Done():
			_ = e.control.Close()
		}
	}
}

// forget takes back what peers that never came have not taken, after joining has failed.
func (n *fastPath) forget() {
	meetings.Lock()
	defer meetings.Unlock()
	for _, key := range n.met {
		if e, ok := meetings.ends[key]; ok {
			delete(meetings.ends, key)
			_ = e.control.Close()
		}
	}
}
