// Package switchyardtest starts several ranks in a test and gives each its world: as goroutines of
// the test ([Run]), as processes ([RunProcesses]), or, for what a test drives by hand, as bare
// worlds ([Worlds]). [Errors] is for tests of what the others get when a rank fails.
//
// A rank fails as a test does: by an error, a panic, or a call of t.FailNow, which testify's
// require makes. The first failure ends the context of every other rank, and the test fails with
// the errors of all, each with its rank. A rank that hangs is named, with the place in the program
// where it waits.
package switchyardtest
