package rendezvous

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// choose returns the launcher to use, or nil if there is none.
func (e *env) choose() (*launcher, error) {
	var seen []*launcher
	for i := range launchers {
		if launchers[i].seen(e) {
			seen = append(seen, &launchers[i])
		}
	}
	if name := e.getenv(envLauncher); name != "" {
		return named(name, seen)
	}
	if len(seen) == 0 {
		return nil, nil
	}
	for _, other := range seen[1:] {
		if err := e.disagreement(seen[0], other); err != nil {
			return nil, err
		}
	}
	return seen[0], nil
}

// Sizes returns the size that each visible launcher states, by name, whether they agree or not. A
// transport that gets rank and size elsewhere can check them against it.
func Sizes(getenv func(string) string) map[string]int {
	e := &env{getenv: getenv, proc: os.DirFS("/proc"), addrs: interfaceAddrs}
	sizes := make(map[string]int)
	for _, l := range launchers {
		if n := e.count(l.size); n > 0 && l.seen(e) {
			sizes[l.name] = n
		}
	}
	return sizes
}

// named returns the launcher that the user has chosen.
func named(name string, seen []*launcher) (*launcher, error) {
	for _, l := range seen {
		if l.name == name {
			return l, nil
		}
	}
	known := []string{aloneName}
	for _, l := range launchers {
		if !slices.Contains(known, l.name) {
			known = append(known, l.name)
		}
	}
	switch {
	case name == aloneName:
		return nil, nil
	case slices.Contains(known, name):
		return nil, fmt.Errorf("%s=%s, but that launcher has not set its variables", envLauncher, name)
	}
	return nil, fmt.Errorf("%s=%.40q is none of %s", envLauncher, name, strings.Join(known, ", "))
}

// disagreement returns an error if two launchers state different ranks or sizes without a known
// reason: probably the variables of one of them remain from something else.
func (e *env) disagreement(inner, outer *launcher) error {
	if outer.name == "kubernetes" && !e.has(envSize) {
		return nil // it states no size, so it is not meant as a launcher
	}
	if e.getenv(inner.rank) == e.getenv(outer.rank) && e.getenv(inner.size) == e.getenv(outer.size) {
		return nil
	}
	if e.startsAgents(inner, outer) || e.startsDaemons(inner, outer) {
		return nil
	}
	says := func(l *launcher) string {
		return fmt.Sprintf("%s says %s=%.20q, %s=%.20q", l.name, l.rank, e.getenv(l.rank), l.size, e.getenv(l.size))
	}
	return fmt.Errorf("two launchers disagree about this process: %s; %s. Unset the variables of the one that did not start it, "+
		"or set %s to the name of the one that did", says(inner), says(outer), envLauncher)
}

// startsAgents: torchrun has one agent a host, which starts the ranks there, and outer has started
// the agents.
func (e *env) startsAgents(inner, outer *launcher) bool {
	if inner.name != "torchrun" {
		return false
	}
	agents, local := e.count("GROUP_WORLD_SIZE"), e.count("LOCAL_WORLD_SIZE")
	if e.has("TORCHELASTIC_RUN_ID") && agents > 0 {
		// the number of an agent may differ from that of its task
		return agents == e.count(outer.size)
	}
	// Others that set torch's variables number their ranks host by host.
	return local > 1 && e.count("WORLD_SIZE") == local*e.count(outer.size) && e.count("RANK")/local == e.count(outer.rank)
}

// startsDaemons: mpirun in a Slurm allocation has Slurm start one daemon a host, which starts the
// ranks there.
func (e *env) startsDaemons(inner, outer *launcher) bool {
	if outer.name != "slurm" || (inner.name != "openmpi" && inner.name != "pmi") {
		return false
	}
	mine := openMPIDaemons
	if inner.name == "pmi" {
		mine = hydraDaemons
	}
	if p := e.nearest(append(slices.Clone(mine), slurmDaemon)...); p != nil {
		return p.name != slurmDaemon
	}
	return e.count("SLURM_STEP_NUM_TASKS") == e.count("SLURM_STEP_NUM_NODES")
}
