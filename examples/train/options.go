package main

import (
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/figure"
	"github.com/switchyard-moe/switchyard/internal/launch"
	"github.com/switchyard-moe/switchyard/internal/outfile"
)

// The names of -transport and -progress.
const (
	inprocTransport  = "inproc"
	hybridTransport  = "hybrid"
	shmTransport     = "shm"
	tcpTransport     = "tcp"
	grpcTransport    = "grpc"
	stripedTransport = "striped"
	mpiTransport     = "mpi" // with the build tag mpi

	shareNever  = "never"
	shareAuto   = "auto"
	shareAlways = "always"

	progressAuto  = "auto"
	progressBar   = "bar"
	progressLines = "lines"
	progressNone  = "none"
)

// options is the command line.
type options struct {
	ranks         int
	transport     string
	lanes, parity int
	insecure      bool

	steps, batch, groups int
	stopAfter            int
	optimizer, moments   string
	lr, decay, momentum  float64
	clip                 float64
	warmup               int
	objective            string
	seed                 uint64

	seq, dim, heads, layers, hidden int

	router                      string
	experts, topk, expertHidden int
	capacity, balance           float64

	compress     float64
	gradients    string
	compensation string
	refine       int
	bandwidth    float64
	ridge        float64
	hash         string
	compressAuto bool
	budget       float64
	compressNode bool
	compressFrom int
	compressTill int
	anneal       float64
	maxError     float64
	link         int
	wire         string
	wireBack     string
	sums         string
	noExperts    bool
	micro        int
	overlap      int
	overlapAuto  bool
	piece        int // bytes of a sum's
	shareExperts string
	algorithm    string
	nodeRanks    int

	text, json, svg, trace, record, progress string
	evalEvery, evalBatches, sample           int
	temperature, topP                        float64

	save, resume, init         string
	saveEvery, saveLimit, keep int
	saveLocal                  bool

	// settings is every flag's value that all ranks must share.
	settings map[string]string
	// fixed is the value of every flag that the parameters at the end depend on, and defaults are
	// the defaults of the same flags.
	fixed, defaults map[string]string
	// asked is closed when the program is to save and end.
	asked <-chan struct{}
	// shared is the text, which all ranks of a process read once.
	shared *sharedText
	// estimate has the program tell what layers will take, and end.
	estimate bool
	// outputs returns what keeps the files of flags from being written.
	outputs func() error
}

const usage = `Trains a byte-level GPT, whose every second block is a Switchyard mixture-of-experts layer, on a text,
and compares it with a bigram model of the same text.

usage: go run ./examples/train [flags]

By itself it starts -ranks ranks: as goroutines of this process with -transport inproc, as processes of
this machine with any other. Started by torchrun, mpirun, srun or go run ./examples/launch it is one rank
of their job, and -ranks is not looked at; -transport inproc, the default, is then as hybrid. Built with
-tags mpi it also knows -transport mpi, for mpirun to start: messages then travel over MPI. The trained
parameters have the same bits in every case.

The files of -json, -svg and -trace are tried before training, and appear whole or not at all. The exit code is 0, 1
after a failure, 2 for a command line that makes no sense, 130 after an interrupt, 143 after SIGTERM, and 75
where that has saved.

With -save the job can stop and go on: -resume of the same folder takes up parameters, optimizer and
progress where they were saved, and ends with the parameters of a run that never stopped, on any number of
ranks (with -compress or -sums on the same number). The flags that decide on those must be the same. On SIGTERM the
job then saves at the end of the step and exits with 75; a second signal ends it at once.

The text is the one that Go's source tree ships, unless -text names another.

Flags:
`

// parse reads the command line. Every fault is reported at once; -h prints help to stdout.
func parse(args []string, stdout io.Writer) (options, error) {
	o := options{shared: new(sharedText)}
	set := &flagSet{FlagSet: flag.NewFlagSet("train", flag.ContinueOnError)}
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	o.declare(set)
	err := set.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		set.SetOutput(stdout)
		set.PrintDefaults()
		fmt.Fprint(stdout, routerTable())
		return o, err
	}
	if err == nil && set.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	faults := append(set.faults, err)
	if len(set.faults) == 0 {
		faults = append(faults, o.contradictions()...)
	}
	o.settings, _ = set.values("ranks", "transport", "insecure", "text", "json", "svg", "record", "progress", "save", "resume", "init")
	o.fixed, o.defaults = set.values(append(freeFlags, textFlag)...)
	o.outputs = func() error { return errors.Join(outfile.Check(set.FlagSet), o.checkSave()) }
	return o, errors.Join(faults...)
}

// large is the most that counts may be.
const large = 1 << 20

// declare adds every flag with its default, its limits and its help.
func (o *options) declare(f *flagSet) {
	integer(f, &o.ranks, "ranks", 4, 1, launch.MaxRanks, "number of ranks")
	choice(f, &o.transport, "transport", "how ranks talk; hybrid is shared memory within a machine and tcp between",
		append([]string{inprocTransport, hybridTransport, shmTransport, tcpTransport, grpcTransport, stripedTransport}, moreTransports()...)...)
	integer(f, &o.lanes, "lanes", 3, 1, 16, "TCP connections that a message is spread over, with -transport striped")
	integer(f, &o.parity, "parity", 1, 0, 15, "of -lanes, those that carry parity, which is how many may fail; less than -lanes")
	f.BoolVar(&o.insecure, "insecure", false, "let ranks of several machines talk, although nothing is encrypted or authenticated")
	o.declareTraining(f)
	o.declareModel(f)
	o.declareExchange(f)
	o.declareCompression(f)
	f.BoolVar(&o.estimate, "estimate", false, "print the memory that the layers with experts will take on a rank, and the bytes of their rows, and end")
	o.declareFiles(f)
	o.declareSaving(f)
}

// declareTraining adds the flags of steps, batches and what makes updates of gradients.
func (o *options) declareTraining(f *flagSet) {
	integer(f, &o.steps, "steps", 400, 1, large, "optimizer steps")
	integer(f, &o.stopAfter, "stop-after", 0, 0, large, "end after this many of -steps, with the learning rates of all of them; 0 ends after the last")
	integer(f, &o.batch, "batch", 16, 1, large, "sequences of a step, over all ranks")
	integer(f, &o.groups, "groups", 8, 1, large, "groups of whole sequences that a batch is cut into; they are spread over the ranks, and capacity counts within one")
	choice(f, &o.optimizer, "optimizer", "what turns gradients into updates", adamwOptimizer, sgdOptimizer)
	choice(f, &o.moments, "moments", "how the optimizer keeps its moments: Adam 8, 2.1 or 1.1 bytes a parameter", momentsNames()...)
	number(f, &o.lr, "lr", 3e-3, 0, 1, "highest learning rate")
	number(f, &o.decay, "decay", 0.05, 0, 1, "weight decay")
	number(f, &o.momentum, "momentum", 0.9, 0, 1, "decay rate of the sum of past gradients, with -optimizer sgd")
	number(f, &o.clip, "clip", 0, 0, large, "largest norm of the gradients of all parameters together, to which larger ones are scaled down; 0 is no bound")
	integer(f, &o.warmup, "warmup", 30, 0, large, "steps until the highest learning rate")
	choice(f, &o.objective, "objective", "what is learned: each next byte, or (without a sample) the bytes of a sequence that are masked, 15 of 100, from those on both sides", nextObjective, maskedObjective)
	f.Uint64Var(&o.seed, "seed", 1, "seed of parameters, batches and sample")
}

// declareModel adds the flags of the model and its experts.
func (o *options) declareModel(f *flagSet) {
	integer(f, &o.seq, "seq", 64, 1, 1<<16, "bytes of a sequence")
	integer(f, &o.dim, "dim", 128, 1, 1<<16, "width of the model, a multiple of -heads")
	integer(f, &o.heads, "heads", 4, 1, 1<<10, "attention heads of a block")
	integer(f, &o.layers, "layers", 4, 1, 1<<10, "blocks; every second one has experts")
	integer(f, &o.hidden, "hidden", 512, 1, large, "hidden units of a dense block")

	choice(f, &o.router, "router", "who gets which byte, see below", routerNames()...)
	integer(f, &o.experts, "experts", 8, 1, 1<<16, "experts of a layer, over all ranks")
	integer(f, &o.topk, "topk", 2, 1, 1<<16, "experts that a byte goes to, at most -experts")
	integer(f, &o.expertHidden, "expert-hidden", 256, 1, large, "hidden units of an expert")
	number(f, &o.capacity, "capacity", 1.25, 0, large, "how much above its even share an expert takes of a group; 0 is no bound")
	number(f, &o.balance, "balance", 0.02, 0, 1000, "coefficient of the balance loss")
}

// declareExchange adds the flags of how rows travel between ranks, and when.
func (o *options) declareExchange(f *flagSet) {
	integer(f, &o.link, "link", 0, 0, large, "Mbit/s of each rank's link, with -transport inproc: to see what a slow network does; 0 is none")
	choice(f, &o.wire, "wire", "format of rows where they travel; default is float32, or bf16 with -compress, or chosen with -compress-auto", wireNames()...)
	choice(f, &o.wireBack, "wire-back", "format of the gradients of rows; default is that of rows", wireNames()...)
	choice(f, &o.sums, "sums", "format in which gradients are summed over the ranks, with error feedback; other than float32 the parameters depend on the number of ranks", alltoall.FormatNames()...)
	f.BoolVar(&o.noExperts, "no-experts", false, "have experts answer nothing: what they are worth is what is lost")
	integer(f, &o.overlap, "overlap", 0, 0, 64, "chunks of an exchange, of which experts compute one while another travels; with -overlap-auto the most")
	f.BoolVar(&o.overlapAuto, "overlap-auto", false, "choose the number of chunks by timing the first steps")
	integer(f, &o.piece, "gradient-piece", 0, 0, 1<<24, "sum gradients of layers in the gaps of the links, in pieces of that many bytes a rank; 0: in the next Backward or Step")
	choice(f, &o.shareExperts, "share-experts", "have ranks with few rows compute rows of experts with many, whose parameters travel to them: where that takes less time by what has been measured, or always; results have the same bits", shareNever, shareAuto, shareAlways)
	integer(f, &o.micro, "micro", 1, 1, 16, "micro-batches of a step, all in flight at once: one computes while rows of others travel; must divide -groups")
	choice(f, &o.algorithm, "algorithm", "way of rows between ranks", algorithmNames()...)
	integer(f, &o.nodeRanks, "node-ranks", launch.MaxRanks, 1, launch.MaxRanks, "consecutive ranks that -algorithm takes for one node")
}

// declareCompression adds the flags of clusters of rows.
func (o *options) declareCompression(f *flagSet) {
	number(f, &o.compress, "compress", 0, 0, 1, "in training, send this share of the rows as centroids of all (LSH-MoE); 0 sends every row; losses of held-out text are never of a compressed pass, nor of other rows than float32")
	choice(f, &o.compensation, "compensation", "how a row's answer is made of its centroid's, with -compress", "interpolate", "identity", "none", "learned-gain", "learned-channels")
	integer(f, &o.refine, "refine", 0, -1, 100, "Lloyd iterations after hashing, with -compress; 0 stands for 3, -1 for none")
	number(f, &o.bandwidth, "bandwidth", 0, 0, large, "squared width of the kernel of -compensation interpolate, in mean squared distances of a row from its centroid; 0 leaves it to the library")
	number(f, &o.ridge, "ridge", 0, 0, large, "what -compensation interpolate adds to the diagonal of its kernel matrix; 0 leaves it to the library")
	choice(f, &o.hash, "hash", "what makes clusters, with -compress; random is a control", "cross-polytope", "hyperplane", "random")
	f.BoolVar(&o.compressNode, "compress-nodes", false, "make clusters of all rows of a node, with -compress and -node-ranks")
	integer(f, &o.compressFrom, "compress-from", 0, 0, 1<<30, "the first step that is compressed, with -compress: the ones before warm up")
	integer(f, &o.compressTill, "compress-until", 0, 0, 1<<30, "the first step after those that is not compressed again; 0 is none")
	number(f, &o.anneal, "compress-anneal", 0, 0, 1, "the share of the rows in the last step that is compressed: it moves evenly from that of -compress to this one; 0 keeps it")
	number(f, &o.maxError, "compress-max-error", 0, 0, large, "have each layer stop compressing while its answers are further than this from true ones, relative to those; 0 is no bound")
	choice(f, &o.gradients, "compress-gradients", "format of the gradients of all rows in compressed passes, or clusters for those of centroids alone", gradientFormats()...)
	f.BoolVar(&o.compressAuto, "compress-auto", false, "have layers choose formats of rows, unless -wire gives one, or clusters, at the rate of -compress or any, by least time; with -node-ranks")
	number(f, &o.budget, "budget", 0, -1, 100, "share of the experts' gain that -compress-auto may lose, by prediction; 0 stands for 0.05, -1 for nothing")
}

// declareFiles adds the flags of what is read and of what is told.
func (o *options) declareFiles(f *flagSet) {
	f.StringVar(&o.text, "text", "", "`file` to learn, or folder, of which that is all .go files in the order of their paths; default is the text in Go's source tree")
	outfile.Var(f.FlagSet, &o.json, "json", "", "`file` to write the results to, as one JSON object")
	outfile.Var(f.FlagSet, &o.svg, "svg", "loss.svg", "`file` to draw the loss curve to, in the format that its ending names; empty for none")
	outfile.Var(f.FlagSet, &o.trace, "trace", "", "`file` to write the exchanges and experts of the last step to, on all ranks, for ui.perfetto.dev")
	outfile.Var(f.FlagSet, &o.record, "record", "", "`file` to write the tokens of the layers with experts, the gradients of their outputs and their parameters in the last step to, as safetensors; with -lr 0 the tokens of all steps; with one rank and -micro 1")
	choice(f, &o.progress, "progress", "how to show progress", progressAuto, progressBar, progressLines, progressNone)
	integer(f, &o.evalEvery, "eval-every", 50, 0, large, "steps between looks at part of the held-out text; 0 for none")
	integer(f, &o.evalBatches, "eval-batches", 0, 0, large, "batches of held-out text that are evaluated at the end, spread over it; 0 takes all")
	integer(f, &o.sample, "sample", 400, 0, large, "bytes to sample at the end")
	number(f, &o.temperature, "temperature", 0.8, 0, 100, "temperature of the sample; 0 takes the likeliest byte")
	number(f, &o.topP, "top-p", 0.95, 1e-6, 1, "probability that the bytes sampled from have together")
}

// declareSaving adds the flags of checkpoints.
func (o *options) declareSaving(f *flagSet) {
	f.StringVar(&o.save, "save", "", "`folder` to save checkpoints in: every -save-every steps, at the end, and on SIGTERM")
	integer(f, &o.saveEvery, "save-every", 50, 0, large, "steps between two checkpoints, with -save; 0 saves at the end alone")
	integer(f, &o.keep, "keep", 2, 0, large, "checkpoints to keep, the last ones, with -save; 0 keeps all")
	integer(f, &o.saveLimit, "save-limit", 0, 0, large, "MB/s at which a rank writes a checkpoint; 0 is no limit")
	f.BoolVar(&o.saveLocal, "save-local", false, "each host has its own folders of -save and -resume, which hold what its ranks have written: before -resume copy those of all hosts together")
	f.StringVar(&o.init, "init", "", "`folder` of checkpoints, of which the last one's parameters are started from, with a new optimizer and schedule, as in fine-tuning; with -resume only where that finds no checkpoint")
	f.StringVar(&o.resume, "resume", "", "`folder` of checkpoints, of which the last is gone on from; without one training starts from the beginning")
}

// contradictions lists the flags that do not go together.
func (o *options) contradictions() []error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(o.dim%o.heads != 0, "-dim %d: must be a multiple of -heads %d", o.dim, o.heads)
	fault(o.topk > o.experts, "-topk %d: must be at most -experts %d", o.topk, o.experts)
	fault(o.batch%o.groups != 0, "-batch %d: must be a multiple of -groups %d", o.batch, o.groups)
	fault(o.groups%o.micro != 0, "-micro %d: must divide -groups %d", o.micro, o.groups)
	fault(o.micro > 1 && o.compress > 0 && o.hash == "random",
		"-hash random: goes with -micro 1 alone, as its draws follow the order of passes")
	fault(o.anneal > 0 && (o.compress == 0 || o.hash == "random"),
		"-compress-anneal %v: goes with -compress above 0, and not with -hash random", o.anneal)
	fault(o.record != "" && (o.ranks != 1 || o.micro != 1 || o.router != "topk" || o.noExperts), "-record %s: goes with -ranks 1, -micro 1, -router topk and experts alone", o.record)
	fault(o.link > 0 && o.transport != inprocTransport, "-link %d: goes with -transport inproc alone", o.link)
	fault(o.parity >= o.lanes && o.transport == stripedTransport, "-parity %d: must be less than -lanes %d", o.parity, o.lanes)
	if err := figure.Format(o.svg); o.svg != "" && err != nil {
		fault(true, "-svg %s: %w", o.svg, err)
	}
	fault(o.stopAfter > o.steps, "-stop-after %d: must be at most -steps %d", o.stopAfter, o.steps)
	fault(o.layers < 2, "-layers %d: must be at least 2, as the second has the experts", o.layers)
	return faults
}
