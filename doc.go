// Package switchyard is a mixture-of-experts layer whose experts are spread over the ranks of a
// job: it sends tokens to experts on other machines and brings the answers back.
//
// A trainer joins its ranks into a [World], builds a [Layer] on it, and calls Forward, Backward and
// Step, as it would for a layer that has all its experts at hand. Package router decides which
// expert takes which token, package alltoall moves rows over a transport (package transport), and
// package expert has what an expert computes.
//
//	world, err := switchyard.Join(ctx, switchyard.JoinConfig{}) // torchrun, Slurm, mpirun or alone
//	layer, err := switchyard.NewLayer(world, switchyard.Config{
//		Dim: 512, Experts: 16,
//		Router: router.TopK{K: 2, CapacityFactor: 1.25},
//		Expert: expert.SwiGLU{Hidden: 1408},
//		Group:  1024, // tokens in which capacity is counted
//	})
//	y, err := layer.Forward(ctx, x)      // x, y: tokens × Dim
//	dx, err := layer.Backward(ctx, dy)
//	err = layer.Step(ctx, optimizer)     // gradients of shared parameters are all-reduced here
//
// # The same tokens give the same bits
//
// For any transport and any number of ranks, forward and backward give the same bits for the same
// global batch: the tokens of all ranks, in rank order, cut into groups of Config.Group tokens.
// Capacity, drops and auxiliary losses count within a group, and gradients are summed over a fixed
// binary tree of groups. The condition is that every rank but the last one with tokens holds whole
// groups.
//
// The bits do depend on the ranks with groups of [PerRank], with compression (clusters are of the
// rows of a rank or a node), with a router that goes by the rows of a rank (router.Forced), and in
// a build with the tag openblas. A step that is cut into other passes has other groups and sums.
package switchyard
