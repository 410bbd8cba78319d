package inproc

import "github.com/switchyard-moe/switchyard/transport"

// side says what an op is.
type side uint8

const (
	receiving side = iota // a receive: bufs are the room for a message
	sending               // a message whose sender waits: bufs are the sender's
	buffered              // a message copied into the inbox: store holds it, nobody waits
)

// op is one side of one message. All but n and err is guarded by the inbox's lock while the op
// stands in a matcher; an op that has been taken out belongs to the goroutine that took it out,
// until it is finished.
type op struct {
	side  side
	waits bool // it stands in a matcher, and its group waits for it
	from  int
	tag   transport.Tag
	inbox *inbox
	group *group
	bufs  [][]byte
	size  int // bytes in bufs or store
	store []byte

	n   int // bytes received
	err error
}

// wait has the op's group wait for it. The inbox is locked.
func (o *op) wait() {
	o.waits = true
	o.group.pending.Add(1)
}

// takeOut takes the op out of its matcher. The inbox is locked.
func (o *op) takeOut(m *matcher) {
	o.waits = false
	if o.side == receiving {
		m.Withdraw(o.tag, o)
	} else {
		m.Discard(o.tag, o)
	}
}

// finish tells the op's group that it is done. The op must not be touched afterwards.
func (o *op) finish(err error) {
	o.err = err
	o.group.oneDone()
}
