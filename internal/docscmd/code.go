package docscmd

import (
	"fmt"
	"os"
	"strings"
)

// Missing returns the blocks of Go code of a page that stand in none of the files, line by line but
// for their indentation. A line of "…" in a block stands for any lines. It is an error if the page
// has no block.
func Missing(page string, files ...string) (missing []string, err error) {
	blocks, err := blocksOf(page)
	if err != nil {
		return nil, err
	}
	var sources [][]string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		sources = append(sources, unindented(string(text)))
	}
	for _, block := range blocks {
		found := false
		for _, source := range sources {
			found = found || holds(source, unindented(block))
		}
		if !found {
			missing = append(missing, block)
		}
	}
	return missing, nil
}

// blocksOf returns what stands between ```go and ``` in a page.
func blocksOf(page string) (blocks []string, err error) {
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	for _, after := range strings.Split(string(text), "\n```go\n")[1:] {
		block, _, _ := strings.Cut(after, "```")
		blocks = append(blocks, block)
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("%s has no Go code", page)
	}
	return blocks, nil
}

// unindented returns the lines of a text without space at their ends.
func unindented(text string) (lines []string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// gap stands for any lines.
const gap = "…"

// holds reports whether the lines of block follow each other somewhere in source.
func holds(source, block []string) bool {
	for at := range source {
		if matches(source[at:], block) {
			return true
		}
	}
	return false
}

// matches reports whether source begins with block.
func matches(source, block []string) bool {
	for i, line := range block {
		if line == gap {
			return holds(source[i:], block[i+1:])
		}
		if i >= len(source) || source[i] != line {
			return false
		}
	}
	return true
}
