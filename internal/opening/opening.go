// Package opening chooses the transport of a job by its name.
package opening

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/hybrid"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/shm"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// Setting is the name under which ranks compare the transports that they have chosen.
const Setting = "switchyard.transport"

// auto is another name of hybrid, and what an empty name means.
const auto = "auto"

// Request asks for a transport.
type Request struct {
	// Name is that of the transport, and From says who has given it, for errors.
	Name, From string
	// Program are the program's own transports. They come before those that every program has.
	Program []rendezvous.Opener
	// NoSharedMemory rules out that processes share memory.
	NoSharedMemory bool
}

// maxName bounds the names of transports in errors.
const maxName = 60

// Choose returns the opener that r asks for.
func Choose(r Request) (rendezvous.Opener, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	name := r.Name
	if name == "" || name == auto {
		name = hybrid.Opener{}.Name()
	}
	if name == (shm.Opener{}).Name() && r.NoSharedMemory {
		return nil, fmt.Errorf("%s is %q, and NoSharedMemory is set", r.From, name)
	}
	for _, o := range r.known() {
		if o.Name() == name {
			return o, nil
		}
	}
	return nil, r.unknown()
}

// known are all openers, the program's first.
func (r Request) known() []rendezvous.Opener {
	return append(slices.Clone(r.Program), hybrid.Opener{NoSharedMemory: r.NoSharedMemory}, tcp.Opener{}, shm.Opener{}, alone{})
}

// check returns what is wrong with the program's transports.
func (r Request) check() error {
	var seen []string
	for i, o := range r.Program {
		if o == nil {
			return fmt.Errorf("JoinConfig.Transports[%d] is nil", i)
		}
		name := o.Name()
		if !wellFormed(name) || name == auto {
			return fmt.Errorf("JoinConfig.Transports[%d] has the name %q, want a word of lower-case letters and digits, and not %q", i, printable.Text(name, maxName), auto)
		}
		if slices.Contains(seen, name) {
			return fmt.Errorf("JoinConfig.Transports has two of the name %q", name)
		}
		seen = append(seen, name)
	}
	return nil
}

// wellFormed reports whether name can be that of an opener.
func wellFormed(name string) bool {
	return name != "" && len(name) <= maxName && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// elsewhere are the transports of the library that a program has to import.
var elsewhere = []string{"grpc", "mpi", "striped"}

// unknown is the error for a name that nobody has.
func (r Request) unknown() error {
	names := []string{auto}
	for _, o := range r.known() {
		if !slices.Contains(names, o.Name()) {
			names = append(names, o.Name())
		}
	}
	name := printable.Text(r.Name, maxName)
	how := "a transport of your own stands in JoinConfig.Transports"
	if slices.Contains(elsewhere, r.Name) {
		how = fmt.Sprintf("for %s import github.com/switchyard-moe/switchyard/transport/%[1]s and set "+
			"JoinConfig.Transports to []switchyard.Opener{%[1]s.Opener{}}", r.Name)
	}
	return fmt.Errorf("%s is %q, and this program has %s; %s", r.From, name, strings.Join(names, ", "), how)
}

// alone opens the transport of a job of one rank.
type alone struct{}

func (alone) Name() string { return "inproc" }

func (alone) Open(_ context.Context, o rendezvous.Opening) (transport.Transport, error) {
	if size := o.Identity.WithDefaults().Size; size != 1 {
		return nil, fmt.Errorf("inproc connects the ranks of one process, and this one is rank %d of %d: choose auto, tcp or shm", o.Rank, size)
	}
	return inproc.New(1)[0], nil
}

// Open opens what p opens, for a rank that is alone over memory, and has ranks compare p's name.
func Open(ctx context.Context, p rendezvous.Opener, o rendezvous.Opening) (transport.Transport, error) {
	if _, own := p.(rendezvous.SelfPlaced); !own && o.Size == 1 {
		p = alone{}
	}
	settings := map[string]string{Setting: p.Name()}
	for name, value := range o.Settings {
		settings[name] = value
	}
	o.Settings = settings
	return p.Open(ctx, o)
}
