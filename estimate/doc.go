// Package estimate tells the memory of a layer and of its passes, and the bytes that it sends,
// before the layer is made. Only the router's parameters and those of one expert are allocated for
// it.
//
// Figures are of float32 in the layout of this version, with the room to grow that its buffers
// have: for a layer whose passes follow each other, each with its own Backward, without
// compression. Each further pass in flight takes Pass.Forward more.
package estimate
