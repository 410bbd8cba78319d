package layout

import (
	"fmt"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/transport"
)

// CheckGroups returns what is wrong with groups of ranks, and by which rank: lists[r] is the group
// of rank r as it says itself, nil if it is in none. All ranks of a group must give the same list.
// name is the number by which errors call a rank.
func CheckGroups(lists [][]transport.Rank, name func(transport.Rank) transport.Rank) (culprit transport.Rank, err error) {
	for r, list := range lists {
		if err := checkMembers(transport.Rank(r), list, len(lists)); err != nil {
			return transport.Rank(r), err
		}
	}
	for r, list := range lists {
		for _, m := range list {
			if !slices.Equal(lists[m], list) {
				return m, fmt.Errorf("it gives %s, rank %d gives %s",
					named(lists[m], name), name(transport.Rank(r)), named(list, name))
			}
		}
	}
	return transport.None, nil
}

// checkMembers returns what is wrong with the list of ranks that rank me of size gives.
func checkMembers(me transport.Rank, list []transport.Rank, size int) error {
	if list != nil && !slices.Contains(list, me) {
		return fmt.Errorf("it is not in its own list %s", List(list))
	}
	seen := make(map[transport.Rank]bool, len(list))
	for _, r := range list {
		if r < 0 || int(r) >= size || seen[r] {
			return fmt.Errorf("its list has %d, which is outside 0..%d or listed twice in %s", r, size-1, List(list))
		}
		seen[r] = true
	}
	return nil
}

// named lists ranks by their names.
func named(ranks []transport.Rank, name func(transport.Rank) transport.Rank) string {
	if len(ranks) == 0 {
		return "no group"
	}
	list := make([]transport.Rank, len(ranks))
	for i, r := range ranks {
		list[i] = name(r)
	}
	return "ranks " + List(list)
}

// List is a list of ranks as text, the first few if there are many.
func List(ranks []transport.Rank) string {
	const most = 8
	text := strings.Trim(fmt.Sprint(ranks[:min(len(ranks), most)]), "[]")
	if len(ranks) > most {
		text = fmt.Sprintf("%s … (%d)", text, len(ranks))
	}
	return text
}
