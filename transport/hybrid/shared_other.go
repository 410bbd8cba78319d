//go:build !linux || purego

package hybrid

// openShared shares nothing where there is no way to.
func openShared(*Config) (sharer, error) { return noMemory{}, nil }

// hostName is empty: nobody shares memory here.
func hostName() string { return "" }
