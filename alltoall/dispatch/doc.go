// Package dispatch moves tokens to the experts that they have chosen, and the answers back, for
// programs that have a router, experts and an optimizer of their own: the token dispatcher of
// Megatron-Core, the dispatch and combine of DeepEP, the all-to-all of Tutel.
//
// A [Dispatcher] is made on a transport, a view of a world say. Its Dispatch takes tokens, and for
// each the k experts that it goes to and the weights of their answers. The [Pass] that it returns
// has the rows that came for the experts hosted here, sorted by expert; Combine takes the answers
// and returns the weighted sum for each token. CombineBackward and DispatchBackward are their
// gradients, in this order. Any number of passes may be unfinished, on one goroutine or several.
//
// With the routes, weights and experts of a layer the results have the layer's bits: the rows of an
// expert stand in the order of the tokens of all ranks, and the answers to a token are added in
// ascending order of experts.
package dispatch
