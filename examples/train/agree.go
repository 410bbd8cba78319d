package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport"
)

// errOptions is the fault of a rank that was started with other flags or another text than rank 0.
var errOptions = errors.New("was started with other flags, or reads another text, than rank 0")

// agree checks that every rank was given what rank 0 was given, as the parameters would drift apart
// otherwise.
func agree(ctx context.Context, world *switchyard.World, o options, text []byte) error {
	// These may differ.
	o.ranks, o.transport, o.text, o.json, o.svg, o.progress, o.outputs, o.asked, o.shared = 0, "", "", "", "", "", nil, nil, nil
	// Each host has its paths.
	o.save, o.resume, o.init = fmt.Sprint(o.save != ""), fmt.Sprint(o.resume != ""), fmt.Sprint(o.init != "")
	h := sha256.New()
	fmt.Fprintf(h, "%+v\n", o)
	h.Write(text)
	mine := h.Sum(nil)
	all := make([]byte, len(mine)*world.Size())
	if err := world.Comm().AllGather(ctx, all, mine); err != nil {
		return err
	}
	for r := range world.Size() {
		if !bytes.Equal(all[:len(mine)], all[r*len(mine):(r+1)*len(mine)]) {
			return &transport.Error{Rank: transport.Rank(r), Op: "start", Err: errOptions}
		}
	}
	return nil
}
