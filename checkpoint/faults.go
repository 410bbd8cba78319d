package checkpoint

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/printable"
)

// maxListed bounds how many faults the text of an error lists.
const maxListed = 20

// faultList collects faults, and keeps the texts of the first ones.
type faultList struct {
	texts []string
	count int
}

// maxKept bounds the texts that a list keeps.
const maxKept = 1000

func (f *faultList) add(format string, args ...any) {
	f.count++
	if len(f.texts) < maxKept {
		f.texts = append(f.texts, fmt.Sprintf(format, args...))
	}
}

// err is nil if there is no fault.
func (f *faultList) err(what string) error {
	if f.count == 0 {
		return nil
	}
	shown := f.texts[:min(len(f.texts), maxListed)]
	text := fmt.Sprintf("%s, %s:\n  %s", what, counted(f.count), strings.Join(shown, "\n  "))
	if rest := f.count - len(shown); rest > 0 {
		text += fmt.Sprintf("\n  and %d more", rest)
	}
	return errtext.Errorf("checkpoint: %s", text)
}

func counted(n int) string {
	if n == 1 {
		return "1 fault"
	}
	return fmt.Sprintf("%d faults", n)
}

// merged puts the lists of the ranks together. A fault that several ranks have is there once, with
// their numbers.
func merged(lists []faultList) faultList {
	var texts []string
	ranks := map[string][]int{}
	more := 0
	for r, list := range lists {
		more += list.count - len(list.texts)
		for _, text := range list.texts {
			if ranks[text] == nil {
				texts = append(texts, text)
			}
			ranks[text] = append(ranks[text], r)
		}
	}
	var all faultList
	for _, text := range texts {
		all.add("%s (%s)", printable.Text(text, maxFault), rankNames(ranks[text]))
	}
	all.count += more
	return all
}

// rankNames names the first few ranks.
func rankNames(ranks []int) string {
	const most = 4
	names := make([]string, 0, most)
	for _, r := range ranks[:min(len(ranks), most)] {
		names = append(names, strconv.Itoa(r))
	}
	text := "rank " + strings.Join(names, ", ")
	if len(ranks) > 1 {
		text = "ranks " + strings.Join(names, ", ")
	}
	if more := len(ranks) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
