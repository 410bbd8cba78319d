package schedule

import "fmt"

// Resource is what a task occupies while it runs. Tasks of one resource run one after the other in
// the order of the graph; tasks of different resources overlap.
type Resource uint8

// The three resources of a rank that can be busy at the same time.
const (
	Compute   Resource = iota // the processor
	Inter                     // the link to other nodes
	Intra                     // the link within the node
	Resources = 3             // how many there are
)

func (r Resource) String() string {
	if r < Resources {
		return [Resources]string{"compute", "inter", "intra"}[r]
	}
	return fmt.Sprintf("resource %d", uint8(r))
}

// Op is what a task does.
type Op uint8

// The operations of one layer: a mixture of experts, and the dense part before it (attention,
// norms).
const (
	Dense      Op   = iota // everything before the mixture of experts
	Route                  // gate and order of the rows
	Counts                 // exchange of how many rows go where
	Pack                   // compression or encoding of a chunk before it is sent
	Dispatch               // all-to-all of rows to their experts
	Gather                 // all-gather of rows among the ranks that share an expert (ESP)
	Expert                 // the experts' computation
	Scatter                // reduce-scatter of the answers among those ranks
	Combine                // all-to-all of answers to where the rows came from
	Unpack                 // decoding, compensation and weighting of a chunk of answers
	Shared                 // experts that every token passes, computed where the token is
	GradReduce             // all-reduce of the gradients of the dense part
	Weights                // gradient of the experts' weights, if it is computed apart from Expert
	Ops        = 13        // how many there are
)

var opNames = [Ops]string{"dense", "route", "counts", "pack", "dispatch", "gather", "expert", "scatter", "combine", "unpack", "shared", "gradients", "weights"}

var opResources = [Ops]Resource{Counts: Inter, Dispatch: Inter, Combine: Inter, GradReduce: Inter, Gather: Intra, Scatter: Intra}

func (o Op) String() string {
	if o < Ops {
		return opNames[o]
	}
	return fmt.Sprintf("op %d", uint8(o))
}

// Resource is where the operation runs when inter-node and intra-node links are used at the same
// time.
func (o Op) Resource() Resource { return opResources[o] }

// Pass is forward or backward.
type Pass uint8

// The two passes of a step.
const (
	Forward Pass = iota
	Backward
)

func (p Pass) String() string {
	if p == Forward {
		return "forward"
	}
	return "backward"
}
