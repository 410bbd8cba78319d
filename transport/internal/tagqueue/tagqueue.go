// Package tagqueue holds messages, or posted receives, in a queue for each tag.
package tagqueue

import "github.com/switchyard-moe/switchyard/transport"

// maxScanned is the number of tags up to which a list of them is scanned, which is faster than a
// map.
const maxScanned = 16

// Queue holds values in the order of their arrival for each tag. It keeps its memory: once it has
// grown, no call allocates. The zero value is empty. The caller locks.
type Queue[T any] struct {
	lists  []list[T]             // in any order; none is empty
	index  map[transport.Tag]int // of lists, once there have been more than maxScanned
	spare  *node[T]
	length int
}

// list is the values of one tag.
type list[T any] struct {
	tag        transport.Tag
	head, tail *node[T]
}

type node[T any] struct {
	next  *node[T]
	value *T
}

// Len is the number of values of all tags.
func (q *Queue[T]) Len() int { return q.length }

// Push adds v as the last value of tag.
func (q *Queue[T]) Push(tag transport.Tag, v *T) {
	n := q.newNode(v)
	if i := q.find(tag); i >= 0 {
		l := &q.lists[i]
		l.tail.next, l.tail = n, n
		return
	}
	q.add(tag, n)
}

// PushFront adds v as the first value of tag.
func (q *Queue[T]) PushFront(tag transport.Tag, v *T) {
	n := q.newNode(v)
	if i := q.find(tag); i >= 0 {
		l := &q.lists[i]
		n.next, l.head = l.head, n
		return
	}
	q.add(tag, n)
}

// Pop removes and returns the first value of tag, or nil.
func (q *Queue[T]) Pop(tag transport.Tag) *T {
	i := q.find(tag)
	if i < 0 {
		return nil
	}
	v := q.lists[i].head.value
	q.unlink(i, nil, q.lists[i].head)
	return v
}

// Remove removes v, a value of tag, and reports whether it was there.
func (q *Queue[T]) Remove(tag transport.Tag, v *T) bool {
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

// find returns the position of tag's list, or -1.
func (q *Queue[T]) find(tag transport.Tag) int {
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
func (q *Queue[T]) add(tag transport.Tag, n *node[T]) {
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
func (q *Queue[T]) unlink(i int, prev, n *node[T]) {
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
	n.value, n.next, q.spare = nil, q.spare, n
	q.length--
}

// drop removes list i; the last one takes its position.
func (q *Queue[T]) drop(i int) {
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

func (q *Queue[T]) newNode(v *T) *node[T] {
	q.length++
	n := q.spare
	if n == nil {
		return &node[T]{value: v}
	}
	q.spare = n.next
	n.next, n.value = nil, v
	return n
}
