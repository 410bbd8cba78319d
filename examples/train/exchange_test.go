package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/lsh"
)

func TestExchangeFlags(t *testing.T) {
	o, err := parse(nil, new(bytes.Buffer))
	require.NoError(t, err)
	require.Equal(t, switchyard.Compression{}, o.compression())
	require.Equal(t, alltoall.Direct, o.exchangeAlgorithm())

	o, err = parse([]string{"-compress", "0.4", "-compensation", "interpolate", "-refine", "1", "-algorithm", "rails", "-node-ranks", "2"}, new(bytes.Buffer))
	require.NoError(t, err)
	c := o.compression()
	require.Equal(t, switchyard.Always, c.When)
	require.Equal(t, lsh.Config{Rate: 0.4, Compensation: lsh.Interpolate, Refine: 1, Seed: o.seed}, c.LSH)
	require.Equal(t, alltoall.Rails, o.exchangeAlgorithm())

	_, err = parse([]string{"-compress", "1.5", "-compensation", "magic", "-algorithm", "auto"}, new(bytes.Buffer))
	for _, flag := range []string{"-compress", "-compensation", "-algorithm"} {
		require.ErrorContains(t, err, flag)
	}
}
