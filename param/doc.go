// Package param defines trainable parameters, as gates, experts and optimizers hold them.
//
// A [Set] keeps the values of several named tensors in one flat vector, Value, and their gradient
// in Grad, a sum over a fixed binary tree whose leaves are the token groups of the global batch
// ([tree.Sum]). A backward pass writes the gradient of each token group into a leaf of its own; the
// layer adds the leaves over ranks and hands the total, laid out as Value, to the optimizer. So a
// gradient has the same bits on any number of ranks.
//
// A gate or an expert from outside makes its set with [NewSet] and reads and writes its tensors by
// [Set.Of], [Set.Matrix] and [Set.Slice]. An optimizer from outside reads [Set.Kind] if it treats
// the gate, the experts and the shared expert differently.
package param
