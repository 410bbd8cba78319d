//go:build !linux

package striped

import (
	"context"
	"errors"
)

// links exist on Linux alone.
type links struct{}

var errNoNamespaces = errors.New("striped needs Linux's network namespaces; nothing was measured")

func newLinks(context.Context, int, int) (*links, error) { return nil, errNoNamespaces }
func (*links) heal(context.Context) error                { return errNoNamespaces }
func (*links) inject(context.Context, int, string) error { return errNoNamespaces }
func (*links) remove() error                             { return nil }
func (*links) command(args ...string) ([]string, error)  { return selfInNamespaces("", args...) }
