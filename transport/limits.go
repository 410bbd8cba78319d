package transport

import (
	"errors"
	"fmt"
	"time"
)

// Limits bound the time and the memory of a transport. Transports embed them in their
// configuration, each with its own defaults for fields that are zero.
type Limits struct {
	// JoinTimeout bounds the meeting of the ranks and the opening of their connections. Default
	// 60 s.
	JoinTimeout time.Duration
	// OpTimeout bounds one Send, Recv or Exchange, from when it first has to wait. Default
	// [DefaultOpTimeout], 30 min; negative ([NoTimeout]) is no bound.
	OpTimeout time.Duration
	// Heartbeat is the time between signs of life. Default 500 ms, or a quarter of DeadAfter if
	// that is less.
	Heartbeat time.Duration
	// DeadAfter is the silence after which a peer is dead, at least twice Heartbeat. It is for a
	// machine that vanishes: a process that dies ends its connections, which is found at once.
	// Default 30 s, which is above the silence of a process on a machine with several times as many
	// busy threads as processors.
	DeadAfter time.Duration
	// CloseTimeout bounds how long Close waits for peers to take what was sent to them. Default 2
	// s.
	CloseTimeout time.Duration
	// MaxUnexpectedBytes bounds, for each peer, the kept messages that no receive has asked for,
	// 128 bytes a message included. Default 64 MiB.
	MaxUnexpectedBytes int
}

// DefaultLimits are the defaults of tcp, hybrid, grpc and shm.
func DefaultLimits() Limits {
	return Limits{
		JoinTimeout: 60 * time.Second, OpTimeout: DefaultOpTimeout,
		Heartbeat: 500 * time.Millisecond, DeadAfter: 30 * time.Second, CloseTimeout: 2 * time.Second,
		MaxUnexpectedBytes: 64 << 20,
	}
}

// WithDefaults returns l with the value of d in every zero field. A Heartbeat of d's is at most a
// quarter of DeadAfter, if that is above 0.
func (l Limits) WithDefaults(d Limits) Limits {
	if l.MaxUnexpectedBytes == 0 {
		l.MaxUnexpectedBytes = d.MaxUnexpectedBytes
	}
	orTime := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	orTime(&l.JoinTimeout, d.JoinTimeout)
	orTime(&l.OpTimeout, d.OpTimeout)
	orTime(&l.DeadAfter, d.DeadAfter)
	orTime(&l.CloseTimeout, d.CloseTimeout)
	if l.DeadAfter > 0 {
		d.Heartbeat = min(d.Heartbeat, l.DeadAfter/4)
	}
	orTime(&l.Heartbeat, d.Heartbeat)
	return l
}

// Validate returns everything that is wrong with l for the transport called name, whose defaults
// are d, or nil. A field that is 0 in d is a limit that the transport does not have: it must not be
// set.
func (l Limits) Validate(name string, d Limits) error {
	var faults []error
	check := func(field string, isSet, isNegative, exists bool, value any) {
		switch {
		case isSet && !exists:
			faults = append(faults, fmt.Errorf("%s: %s %v is set, but %[1]s has no such limit", name, field, value))
		case isNegative:
			faults = append(faults, fmt.Errorf("%s: %s %v is negative", name, field, value))
		}
	}
	for _, f := range []struct {
		field     string
		value     time.Duration
		standard  time.Duration
		unlimited bool // a negative value is no bound
	}{
		{"JoinTimeout", l.JoinTimeout, d.JoinTimeout, false}, {"OpTimeout", l.OpTimeout, d.OpTimeout, true},
		{"Heartbeat", l.Heartbeat, d.Heartbeat, false}, {"DeadAfter", l.DeadAfter, d.DeadAfter, false},
		{"CloseTimeout", l.CloseTimeout, d.CloseTimeout, false},
	} {
		check(f.field, f.value != 0, f.value < 0 && !f.unlimited, f.standard != 0, f.value)
	}
	check("MaxUnexpectedBytes", l.MaxUnexpectedBytes != 0, l.MaxUnexpectedBytes < 0, d.MaxUnexpectedBytes != 0, l.MaxUnexpectedBytes)
	if l = l.WithDefaults(d); d.DeadAfter != 0 && l.DeadAfter < 2*l.Heartbeat {
		faults = append(faults, fmt.Errorf("%s: DeadAfter %v is below twice Heartbeat %v", name, l.DeadAfter, l.Heartbeat))
	}
	return errors.Join(faults...)
}
