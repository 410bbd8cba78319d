package striped

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/switchyard-moe/switchyard/bench/internal/netns"
)

// links are two network namespaces and the pairs of virtual Ethernet devices between them.
type links struct {
	prefix      string // of the namespaces' names; the rank follows
	count, rate int
}

// newLinks makes count links of rate Mbit/s.
func newLinks(ctx context.Context, count, rate int) (*links, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("striped makes network namespaces, which needs root; nothing was measured")
	}
	l := &links{prefix: fmt.Sprintf("sy%dr", os.Getpid()), count: count, rate: rate}
	if err := l.make(ctx); err != nil {
		return nil, errors.Join(err, l.remove())
	}
	return l, nil
}

func (l *links) namespace(rank int) string { return fmt.Sprint(l.prefix, rank) }

func device(link int) string { return fmt.Sprint("l", link) }

func (l *links) make(ctx context.Context) error {
	for rank := range 2 {
		if err := netns.System(ctx, "ip", "netns", "add", l.namespace(rank)); err != nil {
			return err
		}
	}
	for i := range l.count {
		if err := netns.System(ctx, "ip", "link", "add", device(i), "netns", l.namespace(0), "type", "veth",
			"peer", "name", device(i), "netns", l.namespace(1)); err != nil {
			return err
		}
		for rank := range 2 {
			if err := netns.System(ctx, "ip", "-n", l.namespace(rank), "addr", "add", linkAddress(i, rank)+"/24", "dev", device(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// heal brings every link up, at its full rate.
func (l *links) heal(ctx context.Context) error {
	for i := range l.count {
		for rank := range 2 {
			err := netns.System(ctx, "ip", "-n", l.namespace(rank), "link", "set", device(i), "up")
			if err = errors.Join(err, l.limit(ctx, i, rank, l.rate)); err != nil {
				return err
			}
		}
	}
	return nil
}

// limit holds a rank's end of a link to rate Mbit/s. What waits is bounded well above what TCP has
// under way.
func (l *links) limit(ctx context.Context, link, rank, rate int) error {
	return netns.System(ctx, "tc", "-n", l.namespace(rank), "qdisc", "replace", "dev", device(link), "root",
		"tbf", "rate", fmt.Sprintf("%dmbit", rate), "burst", "32kb", "limit", "8mb")
}

// inject gives a link a fault, in both directions.
func (l *links) inject(ctx context.Context, link int, fault string) error {
	switch fault {
	case faultThrottle:
		return errors.Join(l.limit(ctx, link, 0, l.rate/throttle), l.limit(ctx, link, 1, l.rate/throttle))
	case faultDown:
		return netns.System(ctx, "ip", "-n", l.namespace(0), "link", "set", device(link), "down")
	}
	return nil
}

// command is that of this program as a rank within its namespace.
func (l *links) command(args ...string) ([]string, error) { return selfInNamespaces(l.prefix, args...) }

// remove deletes the namespaces, and with them the links.
func (l *links) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), netns.RemoveTimeout)
	defer cancel()
	var errs []error
	for rank := range 2 {
		if _, err := os.Stat("/run/netns/" + l.namespace(rank)); err == nil {
			errs = append(errs, netns.System(ctx, "ip", "netns", "del", l.namespace(rank)))
		}
	}
	return errors.Join(errs...)
}
