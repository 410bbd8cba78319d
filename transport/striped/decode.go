package striped

import "fmt"

// decode recovers the missing data stripes of a block from those that have arrived, and frees the
// parity. Stripes that lie within one buffer of the receive are used, and written, in place.
func (m *inbound) decode(t *Transport, b int) error {
	blk, k, n := &m.blocks[b], m.shape.k, m.shape.length(b)
	shards := make([][]byte, len(t.links))
	var scratch []*buffer
	var spread []int // stripes recovered in scratch, to be copied
	for i := range k {
		arrived := blk.claimed&(1<<i) != 0
		from, to := m.shape.data(b, i)
		direct, ok := []byte(nil), false
		if to-from == n {
			direct, ok = m.to.slice(from, n)
		}
		if !ok {
			buf := t.pool.get(n)
			scratch = append(scratch, buf)
			direct = buf.b
			if arrived {
				m.to.read(from, direct[:to-from])
				clear(direct[to-from:])
			} else {
				spread = append(spread, i)
			}
		}
		if !arrived {
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
