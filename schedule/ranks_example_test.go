package schedule_test

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/schedule"
)

// Ranks 0 and 2 share a fast network, and so do 1 and 3: groups of two keep to those.
func ExampleGroupRanks() {
	const fast, slow = 1, 10
	cost := [][]float64{
		{0, slow, fast, slow},
		{slow, 0, slow, fast},
		{fast, slow, 0, slow},
		{slow, fast, slow, 0},
	}
	fmt.Println(schedule.GroupRanks(cost, 2))
	// Output: [[0 2] [1 3]]
}

// Four experts for a host and one that is half as fast: the larger load goes to the faster one.
func ExamplePlaceExperts() {
	hosts := []schedule.Host{{PerRow: 1e-6}, {PerRow: 2e-6}}
	load := []float64{400, 200, 200, 100}
	on := schedule.PlaceExperts(load, hosts)
	fmt.Println(on, schedule.Busiest(load, hosts, on) < 0.7e-3)
	// Output: [0 1 0 1] true
}
