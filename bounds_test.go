package switchyard

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/lsh"
)

// TestEveryBoundOfAConfig: the first and the last allowed value are taken, those beyond are not.
func TestEveryBoundOfAConfig(t *testing.T) {
	var beyond *int
	if math.MaxInt > math.MaxInt32 {
		n := math.MaxInt32
		n++
		beyond = &n
	}
	for field, b := range map[string]struct {
		set     func(c *Config, n int)
		allowed []int
		not     []int
	}{
		"Group":                           {func(c *Config, n int) { c.Group = n }, []int{PerRank, 1, math.MaxInt32}, []int{PerRank - 1, 0}},
		"MaxRows":                         {func(c *Config, n int) { c.MaxRows = n }, []int{0, 1, math.MaxInt32}, []int{-1}},
		"ExpertParallel":                  {func(c *Config, n int) { c.ExpertParallel = n }, []int{0, 1, 2, 4}, []int{-1, -4, 3, 8}},
		"MicroBatches":                    {func(c *Config, n int) { c.MicroBatches = n }, []int{0, 1}, []int{-1}},
		"Compression.When":                {func(c *Config, n int) { c.Compression.When = When(n) }, []int{0, whens - 1}, []int{-1, whens}},
		"Compression.From":                {func(c *Config, n int) { c.Compression.From = n }, []int{0, 1}, []int{-1}},
		"Compression.From is 0 and Until": {func(c *Config, n int) { c.Compression.Until = n }, []int{0, 1}, []int{-1}},
		"Compression.Rates":               {func(c *Config, n int) { c.Compression.Rates = lsh.Rates{{Rate: float64(n)}} }, []int{1}, []int{0, 2}},
		"Compression.MaxError":            {func(c *Config, n int) { c.Compression.MaxError = float64(n) }, []int{0, 1}, []int{-1}},
		"Compression.LSH.Rate is":         {setBothRates, []int{0}, []int{1}},
		"Overlap.Degree":                  {func(c *Config, n int) { c.Overlap.Degree = n }, []int{0, 1, 64}, []int{-1, 65}},
	} {
		if beyond != nil && (field == "Group" || field == "MaxRows") {
			b.not = append(b.not, *beyond)
		}
		for _, n := range b.allowed {
			cfg := smallConfig()
			b.set(&cfg, n)
			require.NoError(t, cfg.Validate(4), "%s is %d", field, n)
		}
		for _, n := range b.not {
			cfg := smallConfig()
			b.set(&cfg, n)
			require.ErrorContains(t, cfg.Validate(4), "Config."+field, "%d", n)
		}
	}
}

// setBothRates gives a rate beside a schedule of rates.
func setBothRates(c *Config, n int) {
	c.Compression.Rates, c.Compression.LSH.Rate = lsh.Rates{{Rate: 1}}, float64(n)
}

// TestOneRankNeedsNoGroup: nothing depends on the number of ranks if there is one.
func TestOneRankNeedsNoGroup(t *testing.T) {
	cfg := smallConfig()
	cfg.Group = 0
	require.NoError(t, cfg.Validate(1))
	require.ErrorContains(t, cfg.Validate(2), "Group is 0 on 2 ranks")
}

// TestBoundsOfJoin: 0 is no limit of its own, and what is negative is named.
func TestBoundsOfJoin(t *testing.T) {
	nothing := func(string) string { return "" }
	_, err := JoinConfig{Rank: 0, Size: 1, Timeout: 0, DeadAfter: time.Minute, Heartbeat: time.Second}.place(nothing)
	require.NoError(t, err)
	for says, c := range map[string]JoinConfig{
		"JoinConfig.Rank is 1 without a Size":  {Rank: 1},
		"JoinConfig.Rank is -1 without a Size": {Rank: -1},
		"JoinConfig.Size is -1":                {Size: -1},
		"JoinConfig.Timeout is -1ns":           {Size: 1, Timeout: -1},
		"JoinConfig.DeadAfter is -1ns":         {Size: 1, DeadAfter: -1},
		"JoinConfig.Heartbeat is -1ns":         {Size: 1, Heartbeat: -1},
	} {
		_, err := c.place(nothing)
		require.ErrorContains(t, err, says)
	}
}
