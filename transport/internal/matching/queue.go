package matching

import (
	"math/bits"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// minBuckets is the size of the first hash table, a power of two.
	minBuckets = 8
	// maxSpare bounds the nodes that are kept to be used again.
	maxSpare = 8 << 10
)

// queue holds values in the order of their arrival, and finds the first one of a tag. Its hash
// table has the heads, which are the first nodes of all tags; nodes of one tag are chained.
type queue[T any] struct {
	oldest, newest *node[T]
	length         int

	buckets []*node[T] // of heads, by hash; a power of two
	shift   uint8      // what leaves a bucket's number of a hash
	heads   int

	spare  *node[T]
	spares int
}

// node is one value: a message of size bytes, or a receive with room for as many.
type node[T any] struct {
	value        *T
	tag          transport.Tag
	size         int
	older, newer *node[T]
	next         *node[T] // of the same tag
	last         *node[T] // of a head: the last node of its tag
	collides     *node[T] // of a head: the next one in the same bucket
}

// first returns the first node of tag, or nil.
func (q *queue[T]) first(tag transport.Tag) *node[T] {
	if q.length == 0 {
		return nil
	}
	return (*q.bucket(tag)).find(tag)
}

// find returns the head of tag among n and those behind it in its bucket, or nil.
func (n *node[T]) find(tag transport.Tag) *node[T] {
	for n != nil && n.tag != tag {
		n = n.collides
	}
	return n
}

// bucket is where the heads of tag's hash begin.
func (q *queue[T]) bucket(tag transport.Tag) **node[T] {
	const golden = 0x9e3779b97f4a7c15 // 2⁶⁴ divided by the golden ratio
	return &q.buckets[uint64(tag)*golden>>q.shift]
}

// push adds v as the last value of tag.
func (q *queue[T]) push(tag transport.Tag, size int, v *T) {
	n := q.newNode()
	n.value, n.tag, n.size, n.older = v, tag, size, q.newest
	if n.older == nil {
		q.oldest = n
	} else {
		n.older.newer = n
	}
	q.newest = n
	q.length++
	if q.heads == len(q.buckets) {
		q.grow()
	}
	b := q.bucket(tag)
	if head := (*b).find(tag); head != nil {
		head.last.next, head.last = n, n
		return
	}
	n.last, n.collides, *b = n, *b, n
	q.heads++
}

// grow doubles the hash table.
func (q *queue[T]) grow() {
	old := q.buckets
	q.buckets = make([]*node[T], max(minBuckets, 2*len(old)))
	q.shift = 64 - uint8(bits.Len(uint(len(q.buckets)-1)))
	for _, n := range old {
		for n != nil {
			next, b := n.collides, q.bucket(n.tag)
			n.collides, *b = *b, n
			n = next
		}
	}
}

// pop removes n, the first node of its tag.
func (q *queue[T]) pop(n *node[T]) {
	at := q.bucket(n.tag)
	for *at != n {
		at = &(*at).collides
	}
	if next := n.next; next != nil {
		next.last, next.collides, *at = n.last, n.collides, next
	} else {
		*at = n.collides
		q.heads--
	}
	q.drop(n)
}

// remove removes v, a value of tag, and reports whether it was there.
func (q *queue[T]) remove(tag transport.Tag, v *T) bool {
	head := q.first(tag)
	if head == nil {
		return false
	}
	if head.value == v {
		q.pop(head)
		return true
	}
	for prev := head; prev.next != nil; prev = prev.next {
		n := prev.next
		if n.value != v {
			continue
		}
		if prev.next = n.next; n.next == nil {
			head.last = prev
		}
		q.drop(n)
		return true
	}
	return false
}

// drop takes n, which has been unchained, out of the order, and keeps it to be used again.
func (q *queue[T]) drop(n *node[T]) {
	if n.older == nil {
		q.oldest = n.newer
	} else {
		n.older.newer = n.newer
	}
	if n.newer == nil {
		q.newest = n.older
	} else {
		n.newer.older = n.older
	}
	q.length--
	n.value, n.older, n.newer = nil, nil, nil
	if q.spares < maxSpare {
		n.next, q.spare = q.spare, n
		q.spares++
	}
}

func (q *queue[T]) newNode() *node[T] {
	n := q.spare
	if n == nil {
		return new(node[T])
	}
	n.next, q.spare = nil, n.next
	q.spares--
	return n
}

// all visits every value in the order of arrival.
func (q *queue[T]) all(yield func(*T) bool) {
	for n := q.oldest; n != nil; {
		newer := n.newer
		if !yield(n.value) {
			return
		}
		n = newer
	}
}
