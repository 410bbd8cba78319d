package mailbox

// key names a queue: messages of one key keep their order.
type key struct {
	from int
	tag  uint64
}

// side says what an op is.
type side uint8

const (
	receiving side = iota // a receive: bufs are the room for a message
	sending               // a message whose sender waits: bufs are the sender's
	kept                  // a message copied into the box: store holds it, nobody waits
)

// op is one side of one message. All but n and err is guarded by the box's lock while the op stands in a queue;
// an op that has been unlinked belongs to whoever unlinked it, until it is finished.
type op struct {
	side  side
	key   key
	box   *Box
	group *Group
	bufs  [][]byte
	size  int // bytes in bufs or store
	store []byte

	n   int // bytes received
	err error

	queue      *queue // where it stands, or nil
	prev, next *op
}

// finish tells the op's group that it is done. The op must not be touched afterwards.
func (o *op) finish(err error) {
	o.err = err
	o.group.oneDone()
}

// queue is what waits under one key: receives, or messages, never both.
type queue struct {
	key        key
	head, tail *op
	idle       *queue // the next one in the box's list of emptied queues
}

// push appends o to the queue of its key.
func (b *Box) push(o *op) {
	q := b.queues[o.key]
	if q == nil {
		q = b.newQueue(o.key)
	}
	o.queue, o.prev, o.next = q, q.tail, nil
	if q.tail == nil {
		q.head = o
	} else {
		q.tail.next = o
	}
	q.tail = o
}

// newQueue enters an empty queue for k. The tags of a job keep changing, so queues come and go all the time.
func (b *Box) newQueue(k key) *queue {
	q := b.idle
	if q == nil {
		q = new(queue)
	} else {
		b.idle = q.idle
	}
	*q = queue{key: k}
	b.queues[k] = q
	return q
}

// unlink takes o out of its queue, and the queue out of the box if nothing else is in it.
func (b *Box) unlink(o *op) {
	q := o.queue
	if o.prev == nil {
		q.head = o.next
	} else {
		o.prev.next = o.next
	}
	if o.next == nil {
		q.tail = o.prev
	} else {
		o.next.prev = o.prev
	}
	o.queue, o.prev, o.next = nil, nil, nil
	if q.head == nil {
		delete(b.queues, q.key)
		q.idle, b.idle = b.idle, q
	}
}
