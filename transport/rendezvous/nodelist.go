package rendezvous

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxHostBytes bounds a host's name: that of DNS.
const maxHostBytes = 253

// firstHost returns the first host of a Slurm node list, and whether it is the only one: of
// "gpu[03-05,9],login1" it is "gpu03". The list is not expanded.
func firstHost(list string) (host string, alone bool, err error) {
	entry, rest, err := firstEntry(list)
	if err != nil {
		return "", false, err
	}
	alone = rest == ""
	var b strings.Builder
	for entry != "" {
		head, tail, found := strings.Cut(entry, "[")
		b.WriteString(head)
		if !found {
			break
		}
		inside, after, closed := strings.Cut(tail, "]")
		if !closed {
			return "", false, errors.New("bracket is never closed")
		}
		first, single, err := firstOf(inside)
		if err != nil {
			return "", false, err
		}
		b.WriteString(first)
		alone = alone && single
		entry = after
	}
	return b.String(), alone, checkHost(b.String())
}

// firstEntry cuts list at its first comma outside brackets.
func firstEntry(list string) (entry, rest string, err error) {
	depth := 0
	for i, c := range list {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ',' && depth == 0:
			return list[:i], list[i+1:], nil
		}
		if depth < 0 || depth > 1 {
			return "", "", fmt.Errorf("brackets do not match at byte %d", i)
		}
	}
	if depth != 0 {
		return "", "", errors.New("bracket is never closed")
	}
	return list, "", nil
}

// firstOf returns the first number of a list of numbers and ranges such as "03-05,9".
func firstOf(ranges string) (first string, single bool, err error) {
	one, rest, more := strings.Cut(ranges, ",")
	low, high, isRange := strings.Cut(one, "-")
	if !isDigits(low) || (isRange && !isDigits(high)) || (more && rest == "") {
		return "", false, fmt.Errorf("range %.40q is not made of numbers", ranges)
	}
	return low, !more && (!isRange || high == low), nil
}

func isDigits(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

func checkHost(host string) error {
	if host == "" || len(host) > maxHostBytes {
		return fmt.Errorf("host name of %d bytes, limit 1..%d", len(host), maxHostBytes)
	}
	for _, c := range host {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && !strings.ContainsRune("0123456789-._", c) {
			return fmt.Errorf("host name %.40q holds %q", host, c)
		}
	}
	return nil
}

// countHosts counts the hosts of a node list without expanding it.
func countHosts(list string) (int, error) {
	total := 0
	for list != "" {
		entry, rest, err := firstEntry(list)
		if err != nil {
			return 0, err
		}
		n := 1
		for tail := entry; ; {
			_, after, found := strings.Cut(tail, "[")
			if !found {
				break
			}
			inside, behind, _ := strings.Cut(after, "]")
			numbers, err := countNumbers(inside)
			if err != nil {
				return 0, err
			}
			n, tail = n*numbers, behind
			if n > maxRanks {
				return 0, fmt.Errorf("more than %d hosts", maxRanks)
			}
		}
		total, list = total+n, rest
	}
	return total, nil
}

// countNumbers counts the numbers of a list of numbers and ranges such as "03-05,9".
func countNumbers(ranges string) (int, error) {
	total := 0
	for r := range strings.SplitSeq(ranges, ",") {
		low, high, isRange := strings.Cut(r, "-")
		if !isRange {
			high = low
		}
		from, errLow := strconv.Atoi(low)
		to, errHigh := strconv.Atoi(high)
		if errLow != nil || errHigh != nil || from < 0 || to < from || to-from >= maxRanks {
			return 0, fmt.Errorf("range %.40q is not made of numbers from low to high", r)
		}
		total += to - from + 1
	}
	return total, nil
}
