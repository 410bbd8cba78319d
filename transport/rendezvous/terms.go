package rendezvous

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/printable"
)

const (
	// maxJobBytes bounds a job's name.
	maxJobBytes = 128
	// maxSettingsBytes bounds the settings as text. With the rest of a hello they stay below 4 KiB,
	// the most that is allocated for a connection that has not identified itself.
	maxSettingsBytes = 2 << 10
	// maxAddrBytes bounds host:port; a DNS name has at most 253 bytes.
	maxAddrBytes = 255
)

// CheckTerms reports what is wrong with a job's name and the settings its ranks must agree on:
// names and values are single lines, names hold no "=", and all together take at most 2 KiB.
func CheckTerms(job string, settings map[string]string) error {
	var faults []error
	if len(job) > maxJobBytes || strings.ContainsAny(job, "\r\n\x00") {
		faults = append(faults, fmt.Errorf("rendezvous: job name %.40q has %d bytes or a line break, limit %d bytes on one line",
			job, len(job), maxJobBytes))
	}
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		if k == "" || strings.ContainsAny(k, "=\r\n") || strings.ContainsAny(settings[k], "\r\n") {
			faults = append(faults, fmt.Errorf("rendezvous: setting %q = %q is not a single line, or its name is empty or holds '='",
				k, settings[k]))
		}
	}
	if n := len(textOf(settings)); n > maxSettingsBytes {
		faults = append(faults, fmt.Errorf("rendezvous: settings take %d bytes as text, limit %d", n, maxSettingsBytes))
	}
	return errors.Join(faults...)
}

// Digest is the SHA-256 of a job's name and settings.
func Digest(job string, settings map[string]string) [sha256.Size]byte {
	return sha256.Sum256([]byte(job + "\x00" + textOf(settings)))
}

// textOf writes settings as sorted lines of k=v.
func textOf(settings map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		b.WriteString(k + "=" + settings[k] + "\n")
	}
	return b.String()
}

// parseSettings reads what textOf wrote.
func parseSettings(text string) (map[string]string, error) {
	settings := make(map[string]string)
	for line := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("settings line %.40q is not k=v", line)
		}
		settings[k] = v
	}
	return settings, nil
}

// difference names the settings in which two ranks differ, with both values, or returns "".
func difference(mine, theirs map[string]string, me, them string) string {
	all := maps.Clone(mine)
	if all == nil {
		all = make(map[string]string)
	}
	maps.Copy(all, theirs)
	var out []string
	for _, k := range slices.Sorted(maps.Keys(all)) {
		a, inMine := mine[k]
		b, inTheirs := theirs[k]
		if a != b || inMine != inTheirs {
			out = append(out, fmt.Sprintf("%s: %s has %s, %s has %s", printable.Text(k, maxSettingsBytes), me, shown(a, inMine), them, shown(b, inTheirs)))
		}
	}
	return strings.Join(out, "; ")
}

func shown(v string, present bool) string {
	if !present {
		return "nothing"
	}
	return fmt.Sprintf("%q", v)
}

// CheckBind returns an error if a rank may not listen on addr, a host:port. It must name one
// address, which must be loopback unless open is set: because ranks authenticate each other, or
// because the user has allowed it without.
func CheckBind(addr string, open bool) error {
	host, _, err := splitAddr(addr)
	if err != nil {
		return err
	}
	ip, literal := parseHost(host)
	if isLocalhost(host) || literal && ip.IsLoopback() || open {
		return nil
	}
	return errtext.Errorf("rendezvous: %w", notLoopback(addr))
}
