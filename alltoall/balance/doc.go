// Package balance decides which ranks compute the rows of experts that have more than their home,
// the rank that hosts them, can compute in time.
//
// A [Planner] makes an [alltoall.Allocation] from a [Problem]: the rows of a batch, what rows and
// parameters cost, and the limits of memory. It computes with integers and states which of several
// equal choices it takes, so that all ranks come to the same allocation without a message.
// [Makespan] is the planner to use: it lets the last rank be done as early as it can. The others
// are those of other systems, to compare with: [Spill] (LLEP), [Exact] (MoonEP), [Threshold]
// (UltraEP) and [Copies] (EPLB). A helper is a rank that computes rows of another rank's expert.
//
// [Prediction] costs an allocation, and [Gated] keeps a planner from sharing experts where it
// hardly pays. Moving n rows of an expert saves its home their computing and costs a copy of the
// parameters. With b bytes a parameter, C flop/s of a rank and W bytes/s of its link, that pays
// from n = (b/2)·C/W on if only the forward pass counts, and (b+4)/6·C/W in training, where a
// float32 gradient goes back: the size of the expert cancels.
//
// [Placing] is the slow form beside this: it moves experts for good, by the loads of many steps.
//
// Package balancetest is the conformance suite of planners.
package balance
