package layout

// Seed is the seed of a layer by its number in its world: the configured one for the first, and
// another for each that follows. (The finaliser of SplitMix64; Steele et al. 2014.)
func Seed(seed uint64, layer int) uint64 {
	if layer == 0 {
		return seed
	}
	h := seed ^ uint64(layer)*0xd1342543de82ef95
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
