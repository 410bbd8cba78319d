// Package docscmd finds in tests the command lines that the documents tell readers to run.
package docscmd

import (
	"os"
	"path/filepath"
	"strings"
)

// Of returns the arguments of each command line that begins with program, "go run ./bench" for one,
// in the README and the pages of docs of the module whose root is given.
func Of(root, program string) ([][]string, error) {
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		return nil, err
	}
	var lines [][]string
	for _, page := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			return nil, err
		}
		whole := strings.ReplaceAll(string(text), "\\\n", " ")
		for line := range strings.Lines(whole) {
			lines = append(lines, in(line, program)...)
		}
	}
	return lines, nil
}

// in returns the arguments of the commands of a line. A command ends with a backquote, with a
// comment, or where the shell goes on to another one.
func in(line, program string) (found [][]string) {
	for _, rest := range strings.Split(line, program+" ")[1:] {
		rest, _, _ = strings.Cut(rest, "`")
		rest, _, _ = strings.Cut(rest, " #")
		var args []string
		for _, field := range strings.Fields(rest) {
			if strings.ContainsAny(field, "|;&><…") {
				if arg := strings.TrimRight(field, ";"); arg != field && !strings.ContainsAny(arg, "|;&><…") {
					args = append(args, arg)
				}
				break
			}
			args = append(args, field)
		}
		if len(args) > 0 {
			found = append(found, args)
		}
	}
	return found
}
