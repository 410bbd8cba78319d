package main

// Exit codes beside 0.
const (
	failed  = 1 // a measurement failed, or bytes arrived wrong
	misused = 2 // the command line makes no sense
)

// rankWord is the first argument of a command that bench starts as a rank.
const rankWord = "rank"
