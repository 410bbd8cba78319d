package striped

import "fmt"

// decode makes the data stripes of a block that have not come from those that have, and forgets the
// parity. Stripes that lie in one of the taker's buffers are used, and made, where they are.
func (m *inbound) decode(t *Transport, b int) error {
	blk, k, n := &m.blocks[b], m.shape.k, m.shape.length(b)
	shards := make([][]byte, len(t.lanes))
	var scratch []*buffer
	var spread []int // stripes made in scratch, to be copied to their place
	for i := range k {
		come := blk.claimed&(1<<i) != 0
		from, to := m.shape.data(b, i)
		direct, ok := []byte(nil), false
		if to-from == n {
			direct, ok = m.to.slice(from, n)
		}
		if !ok {
			buf := t.pool.get(n)
			scratch = append(scratch, buf)
			direct = buf.b
			if come {
				m.to.read(from, direct[:to-from])
				clear(direct[to-from:])
			} else {
				spread = append(spread, i)
			}
		}
		if !come {
			direct = direct[:0]
		}
		shards[i] = direct
	}
	for i, p := range blk.parity {
		if p != nil {
			shards[k+i] = p.b[headerBytes:]
		}
	}
	err := t.code.ReconstructData(shards)
	if err == nil {
		for _, i := range spread {
			from, to := m.shape.data(b, i)
			m.to.write(from, shards[i][:to-from])
		}
	} else {
		err = fmt.Errorf("message %d, block %d: %w", m.number, b, err)
	}
	for _, buf := range append(scratch, blk.parity...) {
		t.pool.put(buf)
	}
	blk.parity = nil
	return err
}
