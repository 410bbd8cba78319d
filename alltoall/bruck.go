package alltoall

import "math/bits"

// bruckSteps moves a block whose receiver is d ranks ahead by the bits of d, the lowest first: in
// step k the blocks with bit k set go 2^k ahead.
//
// Steps: ⌈log₂ n⌉. Messages a rank: as many. Bytes: each block once for each bit of its distance,
// half of ⌈log₂ n⌉ times on average. It wins if messages are so small that only their number
// counts. (Bruck et al. 1997; uneven blocks: Fan et al. 2022, whose lengths also travel with the
// data.)
func bruckSteps(o on, rank int) []Step {
	n := o.ranks()
	steps := make([]Step, bits.Len(uint(n-1)))
	blocks := func(holder, k int) []Block {
		var list []Block
		for d := 1; d < n; d++ {
			if d>>k&1 == 1 {
				from := (holder + n - d&(1<<k-1)) % n
				list = append(list, Block{from, (from + d) % n})
			}
		}
		return list
	}
	for k := range steps {
		to, from := (rank+1<<k)%n, (rank+n-1<<k%n)%n
		steps[k] = Step{
			Sends: []Bundle{{to, blocks(rank, k)}},
			Recvs: []Bundle{{from, blocks(from, k)}},
		}
	}
	return steps
}
