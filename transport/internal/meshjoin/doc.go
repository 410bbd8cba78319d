// Package meshjoin has the ranks of a job meet and connects each with every other one: over TCP, or
// over a faster path that its caller offers. What it returns is the engine of package mesh with all
// its streams open. transport/tcp and transport/hybrid are thin layers over it.
package meshjoin
