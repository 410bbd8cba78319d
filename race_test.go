//go:build race

package switchyard

// raced tells that the race detector watches. The matrices of same bits, which the plain run goes
// through whole, then keep to fewer ranks.
const raced = true
