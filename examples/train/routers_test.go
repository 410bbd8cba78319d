package main

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every router trains, and ends with the same bits on any number of ranks.
func TestEveryRouterGivesTheSameBits(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	for _, name := range someRouters() {
		t.Run(name, func(t *testing.T) {
			_, want := trainTiny(t, "-router", name, "-ranks", "1", "-text", text)
			require.Equal(t, name, want.Router)
			require.Less(t, want.LossLast, want.LossFirst)
			_, got := trainTiny(t, "-router", name, "-ranks", "3", "-text", text)
			require.Equal(t, want.ParamSHA256, got.ParamSHA256)
			require.Equal(t, want.ValLoss, got.ValLoss)
			require.Equal(t, want.ExpertLoad, got.ExpertLoad)
		})
	}
}

// someRouters are all of them, or with -short every fifth.
func someRouters() (list []string) {
	for i, name := range routerNames() {
		if !testing.Short() || i%5 == 0 {
			list = append(list, name)
		}
	}
	return list
}

func TestRoutersAreListedAndMarked(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.Zero(t, run(context.Background(), []string{"-h"}, &stdout, &stderr))
	for _, name := range routerNames() {
		require.Contains(t, stdout.String(), "\n  "+name+" ")
	}
	for name, ahead := range map[string]bool{"topk": false, "sinkhorn": false, "moma": false, "expert-choice": true, "soft-moe": true} {
		require.Equal(t, ahead, looksAhead(options{router: name, experts: 8, topk: 2}.buildRouter()), name)
	}
}

// The smallest layers there are must not break what a router derives from the flags.
func TestRoutersWithFewExperts(t *testing.T) {
	clearLauncher(t)
	text := short(t)
	for _, name := range someRouters() {
		if name == "gshard" || name == "moma" {
			continue // they need two
		}
		t.Run(name, func(t *testing.T) {
			trainTiny(t, "-router", name, "-experts", "1", "-topk", "1", "-ranks", "1", "-steps", "2", "-text", text)
		})
	}
}

func TestBytesAreSorted(t *testing.T) {
	l := &informed{gates: 1}
	l.Tokens([]byte("aZ7 .\n\x80"))
	require.Equal(t, []int32{'a', 'Z', '7', ' ', '.', '\n', 0x80}, l.side.IDs)
	require.Equal(t, []int32{0, 0, 1, 1, 1, 1, 1}, l.side.Modality)
	for i, class := range []int{0, 1, 2, 3, 4, 3, 5} {
		require.Equal(t, float32(1), l.side.Features.Data[i*byteClasses+class])
	}
}
