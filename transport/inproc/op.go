package inproc

// key names a line: messages of one key keep their order.
type key struct {
	from int
	tag  uint64
}

// side says what an op is.
type side uint8

const (
	receiving side = iota // a receive: bufs are the room for a message
	sending               // a message whose sender waits: bufs are the sender's
	buffered              // a message copied into the inbox: store holds it, nobody waits
)

// op is one side of one message. All but n and err is guarded by the inbox's lock while the op
// stands in a line; an op that has been unlinked belongs to the goroutine that unlinked it,
// until it is finished.
type op struct {
	side  side
	key   key
	inbox *inbox
	group *group
	bufs  [][]byte
	size  int // bytes in bufs or store
	store []byte

	n   int // bytes received
	err error

	line       *line // where it stands, or nil
	prev, next *op
}

// finish tells the op's group that it is done. The op must not be touched afterwards.
func (o *op) finish(err error) {
	o.err = err
	o.group.oneDone()
}

// line is what waits under one key: receives, or messages, never both.
type line struct {
	key        key
	head, tail *op
	idle       *line // the next one in the inbox's list of emptied lines
}

// push appends o to the line of its key.
func (b *inbox) push(o *op) {
	l := b.lines[o.key]
	if l == nil {
		l = b.newLine(o.key)
	}
	o.line, o.prev, o.next = l, l.tail, nil
	if l.tail == nil {
		l.head = o
	} else {
		l.tail.next = o
	}
	l.tail = o
}

// newLine enters an empty line for k. The tags of a job keep changing, so lines come and go all the
// time.
func (b *inbox) newLine(k key) *line {
	l := b.idle
	if l == nil {
		l = new(line)
	} else {
		b.idle = l.idle
	}
	*l = line{key: k}
	b.lines[k] = l
	return l
}

// unlink takes o out of its line, and the line out of the inbox if nothing else is in it.
func (b *inbox) unlink(o *op) {
	l := o.line
	if o.prev == nil {
		l.head = o.next
	} else {
		o.prev.next = o.next
	}
	if o.next == nil {
		l.tail = o.prev
	} else {
		o.next.prev = o.prev
	}
	o.line, o.prev, o.next = nil, nil, nil
	if l.head == nil {
		delete(b.lines, l.key)
		l.idle, b.idle = b.idle, l
	}
}
