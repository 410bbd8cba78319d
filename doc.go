// Package switchyard routes the tokens of a mixture-of-experts layer to experts on other machines and brings
// the answers back.
//
// A trainer joins its ranks into a [World], builds a [Layer] on it, and calls Forward, Backward and Step, as it
// would for a layer that has all its experts at hand. Which expert takes which token is decided by a router
// (package router); rows travel by an exchange (package alltoall) over a transport (package transport); what an
// expert computes is package expert.
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
//	err = layer.Step(ctx, optimizer)     // gradients of shared parameters are all-reduced on the way
//
// # The same tokens give the same bits
//
// For any transport and any number of ranks, forward and backward give the same bits for the same global
// batch. The tokens of all ranks, in rank order, are the global batch; it is cut into groups of Config.Group
// tokens. Capacity, drops and auxiliary losses count within a group, and gradients are summed over a fixed
// binary tree of groups. So the bits hold as long as every rank but the last that has tokens holds whole groups.
//
// They do not hold for groups of [PerRank], for rows that are compressed ([Compression]: clusters are of a rank's or a
// node's rows), for a router that goes by the rows of a rank (router.Forced), nor in a build with the
// tag openblas. A step that is cut into other passes (micro-batches) has other groups and other sums.
package switchyard
