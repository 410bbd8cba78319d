// Package processtest tests what a transport between processes does when a real process dies or
// stops. A transport's test package has one test that calls [Child], named TestChild, and others
// that call [Killed] and [Stopped], which start the test binary again as the ranks of a job.
package processtest
