//go:build !race

package switchyard

const raced = false
