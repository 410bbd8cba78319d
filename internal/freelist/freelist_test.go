package freelist_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/freelist"
)

func TestLastGivenIsTakenFirst(t *testing.T) {
	var l freelist.List[int]
	require.Nil(t, l.Take())
	a, b := new(int), new(int)
	l.Give(a)
	l.Give(b)
	require.Same(t, b, l.Take())
	require.Same(t, a, l.Take())
	require.Nil(t, l.Take())
}

// TestNoValueIsTakenTwice: goroutines that take, write and give never share a value.
func TestNoValueIsTakenTwice(t *testing.T) {
	var l freelist.List[int]
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				v := l.Take()
				if v == nil {
					v = new(int)
				}
				*v++
				l.Give(v)
			}
		})
	}
	wg.Wait()
	total := 0
	for v := l.Take(); v != nil; v = l.Take() {
		total += *v
	}
	require.Equal(t, 4000, total)
}
