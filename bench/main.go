// Command bench measures switchyard and its peers on this machine:
//
//	go run ./bench <command> -h
//
// Each command prints a table, and data for other programs on request. See commands for what there
// is.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/switchyard-moe/switchyard/bench/admission"
	"github.com/switchyard-moe/switchyard/bench/algorithms"
	"github.com/switchyard-moe/switchyard/bench/allreduce"
	"github.com/switchyard-moe/switchyard/bench/alltoall"
	"github.com/switchyard-moe/switchyard/bench/auto"
	"github.com/switchyard-moe/switchyard/bench/balance"
	"github.com/switchyard-moe/switchyard/bench/collisions"
	"github.com/switchyard-moe/switchyard/bench/formats"
	"github.com/switchyard-moe/switchyard/bench/goldens"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/layer"
	"github.com/switchyard-moe/switchyard/bench/lsh"
	"github.com/switchyard-moe/switchyard/bench/models"
	"github.com/switchyard-moe/switchyard/bench/moments"
	"github.com/switchyard-moe/switchyard/bench/network"
	"github.com/switchyard-moe/switchyard/bench/overlap"
	"github.com/switchyard-moe/switchyard/bench/plan"
	"github.com/switchyard-moe/switchyard/bench/recipe"
	"github.com/switchyard-moe/switchyard/bench/route"
	"github.com/switchyard-moe/switchyard/bench/routers"
	"github.com/switchyard-moe/switchyard/bench/sim"
	"github.com/switchyard-moe/switchyard/bench/step"
	"github.com/switchyard-moe/switchyard/bench/striped"
	"github.com/switchyard-moe/switchyard/bench/sums"
	"github.com/switchyard-moe/switchyard/internal/interrupt"
)

const helpFormat = "  %-10s %s\n"

// command is one of bench's subcommands. run gets the arguments after the name and returns the exit
// code.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, stdout, stderr io.Writer) int
}

// commands lists what bench can do. Those without a summary are what bench starts itself and help
// does not list.
func commands() []command {
	return []command{
		{"admission", "connect to the ports of a job as clients that do not belong to it, and time the job", admission.Run},
		{"algorithms", "predict the exchange algorithms on up to 16384 ranks", algorithms.Run},
		{"allreduce", "time sums over all ranks, direct and by node, beside Open MPI, MPICH and Intel MPI", allreduce.Run},
		{"alltoall", "time an all-to-all over our transports, beside Open MPI and Gloo", alltoall.Run},
		{"auto", "hold the formats that a layer chooses for slow links against each by hand", auto.Run},
		{"balance", "compare planners that share out the experts of an uneven load", balance.Run},
		{"collisions", "compare the hashes of compression with theory", collisions.Run},
		{"formats", "check formats of few bits against the tables of other libraries", formats.Run},
		{"goldens", "check results against the vectors that other systems computed", goldens.Run},
		{"layer", "time a layer's dispatch and combine, beside copy", layer.Run},
		{"lsh", "train with and without compression on slow links, and weigh speed against loss", lsh.Run},
		{"models", "check blocks of published models against the vectors of another library", models.Run},
		{"moments", "train with moments of the optimizer in fewer bits, and weigh their bytes against loss", moments.Run},
		{"network", "time the exchange algorithms on a cluster of namespaces, and hold Auto against them", network.Run},
		{"overlap", "time a layer whose experts compute while rows travel, on slow links", overlap.Run},
		{"plan", "choose into how many chunks to cut exchanges", plan.Run},
		{"recipe", "time dispatch and combine beside the usual recipe in torch", recipe.Run},
		{"route", "time the routing of tokens, beside torch", route.Run},
		{"routers", "train the example with each router, beside a bigram model", routers.Run},
		{"sim", "simulate steps of large models on large clusters", sim.Run},
		{"step", "time training steps with copies of experts, whose gradients are summed at the end or in gaps", step.Run},
		{"striped", "time a striped transport while one of its links is throttled or down", striped.Run},
		{"sums", "train with gradients summed over ranks in few bits, and compare bytes and loss", sums.Run},
		{alltoall.RankCommand, "", alltoall.RunRank},
	}
}

func main() {
	ctx, stop := interrupt.Context(context.Background(), 0)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is main without the process around it; it returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		help(stderr)
		return harness.Misused
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return ended(ctx, args, c.run(ctx, args[1:], stdout, stderr), stderr)
		}
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		help(stdout)
		return 0
	}
	fmt.Fprintf(stderr, "bench: no command %q; -h lists them\n", args[0])
	return harness.Misused
}

// ended tells that a signal has ended a command, and returns its exit code. What bench has started
// itself leaves that to the bench that has.
func ended(ctx context.Context, args []string, code int, stderr io.Writer) int {
	why, over := interrupt.Of(ctx)
	if !over || code == 0 || code == harness.Misused {
		return code
	}
	if !isRank(args) {
		fmt.Fprintf(stderr, "bench: %v\n", why)
	}
	return why.Code()
}

// isRank tells whether arguments are those by which bench starts itself.
func isRank(args []string) bool {
	return args[0] == alltoall.RankCommand || len(args) > 1 && args[1] == harness.RankArg
}

func help(w io.Writer) {
	fmt.Fprint(w, "Measures switchyard and its peers on this machine.\n\nusage: go run ./bench <command> [flags]\n\ncommands:\n")
	for _, c := range commands() {
		if c.summary != "" {
			fmt.Fprintf(w, helpFormat, c.name, c.summary)
		}
	}
	fmt.Fprint(w, "\n<command> -h explains a command.\n")
}
