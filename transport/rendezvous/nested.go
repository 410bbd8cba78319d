package rendezvous

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// choose finds the launcher to believe; nil means that there is none.
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

// Sizes are the sizes that visible launchers state, by name: of all of them, whether they agree or
// not. It is for those who learn rank and size elsewhere, and want to know whether that can be.
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

// named is the launcher that the user has chosen.
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

// disagreement reports that two launchers say different things of this process, and that nothing
// explains it: the variables of one of them were probably left over from something else.
func (e *env) disagreement(inner, outer *launcher) error {
	if outer.name == "kubernetes" && !e.has(envSize) {
		return nil // it tells no size, so that nobody has meant it as a launcher
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
		// an agent's number need not be that of the task it runs in
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
