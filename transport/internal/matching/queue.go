package matching

import "github.com/switchyard-moe/switchyard/transport"

const (
	// maxScanned is the number of tags up to which a list of them is scanned, which is faster than
	// a map.
	maxScanned = 16
	// maxSpare bounds the nodes that are kept to be used again.
	maxSpare = 16 << 10
)

// queue holds values in the order of their arrival for each tag.
type queue[T any] struct {
	lists  []list[T]             // in any order; none is empty
	index  map[transport.Tag]int // of lists, once there have been more than maxScanned
	spare  *node[T]
	spares int
	length int
}

// list is the values of one tag.
type list[T any] struct {
	tag        transport.Tag
	head, tail *node[T]
}

// node is one value: a message of size bytes, or a receive with room for as many.
type node[T any] struct {
	next  *node[T]
	value *T
	size  int
}

// push adds v as the last value of tag.
func (q *queue[T]) push(tag transport.Tag, size int, v *T) {
	n := q.newNode(size, v)
	if i := q.find(tag); i >= 0 {
		l := &q.lists[i]
		l.tail.next, l.tail = n, n
		return
	}
	q.add(tag, n)
}

// remove removes v, a value of tag, and reports whether it was there.
func (q *queue[T]) remove(tag transport.Tag, v *T) bool {
	i := q.find(tag)
	if i < 0 {
		return false
	}
	for prev, n := (*node[T])(nil), q.lists[i].head; n != nil; prev, n = n, n.next {
		if n.value == v {
			q.unlink(i, prev, n)
			return true
		}
	}
	return false
}

// all visits every value. A list that is emptied by that has its position taken by one that has
// been visited.
func (q *queue[T]) all(yield func(*T) bool) {
	for i := len(q.lists) - 1; i >= 0; i-- {
		for n := q.lists[i].head; n != nil; {
			next := n.next
			if !yield(n.value) {
				return
			}
			n = next
		}
	}
}

// find returns the position of tag's list, or -1.
func (q *queue[T]) find(tag transport.Tag) int {
	if q.index != nil {
		if i, ok := q.index[tag]; ok {
			return i
		}
		return -1
	}
	for i := range q.lists {
		if q.lists[i].tag == tag {
			return i
		}
	}
	return -1
}

// add adds a list of one node.
func (q *queue[T]) add(tag transport.Tag, n *node[T]) {
	q.lists = append(q.lists, list[T]{tag, n, n})
	last := len(q.lists) - 1
	switch {
	case q.index != nil:
		q.index[tag] = last
	case last == maxScanned:
		q.index = make(map[transport.Tag]int)
		for i := range q.lists {
			q.index[q.lists[i].tag] = i
		}
	}
}

// unlink removes n, which follows prev, or is the head if that is nil, from list i.
func (q *queue[T]) unlink(i int, prev, n *node[T]) {
	l := &q.lists[i]
	if prev == nil {
		l.head = n.next
	} else {
		prev.next = n.next
	}
	if n.next == nil {
		l.tail = prev
	}
	if l.head == nil {
		q.drop(i)
	}
	q.length--
	n.value, n.next = nil, nil
	if q.spares < maxSpare {
		n.next, q.spare = q.spare, n
		q.spares++
	}
}

// drop removes list i; the last one takes its position.
func (q *queue[T]) drop(i int) {
	last := len(q.lists) - 1
	if q.index != nil {
		delete(q.index, q.lists[i].tag)
		if i != last {
			q.index[q.lists[last].tag] = i
		}
	}
	q.lists[i], q.lists[last] = q.lists[last], list[T]{}
	q.lists = q.lists[:last]
}

func (q *queue[T]) newNode(size int, v *T) *node[T] {
	q.length++
	n := q.spare
	if n == nil {
		return &node[T]{value: v, size: size}
	}
	q.spare = n.next
	q.spares--
	n.next, n.value, n.size = nil, v, size
	return n
}
