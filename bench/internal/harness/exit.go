// Package harness holds what all commands of bench do alike: their flags, sizes, exit codes,
// progress and output files.
package harness

// Exit codes beside 0.
const (
	Failed  = 1 // a measurement failed, or bytes arrived wrong
	Misused = 2 // the command line makes no sense
)

// RankArg is the first argument of a command that bench starts as a rank.
const RankArg = "rank"
