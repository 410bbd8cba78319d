// Command codestyle measures the source of a Go module and compares each figure with its limit:
// the size of the root package and of its type Layer, the length of functions, the width of
// comments, the words of names and prose, exported names that lead to internal packages, and the
// size of the documentation. It only reads files. Run it at the root of the module:
//
//	go run ./internal/codestyle          a table; exit status 1 if a figure is past its limit
//	go run ./internal/codestyle -list    the table, and each place that has to change
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	list := flag.Bool("list", false, "also print each place that has to change")
	flag.Parse()
	ok, err := run(os.Stdout, ".", limits, *list)
	if err != nil {
		fmt.Fprintln(os.Stderr, "codestyle:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

// run measures the module in a folder and prints the table. It returns false if a figure is past
// its limit.
func run(out io.Writer, folder string, limits []limit, list bool) (bool, error) {
	f, err := measure(os.DirFS(folder))
	if err != nil {
		return false, err
	}
	ok := report(out, f, limits)
	if list {
		for _, places := range [][]place{f.internal, f.words, f.wide} {
			for _, p := range places {
				fmt.Fprintln(out, p)
			}
		}
	}
	return ok, nil
}
