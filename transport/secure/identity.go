package secure

import (
	"crypto/x509"
	"fmt"
	"strconv"
	"strings"

	"github.com/switchyard-moe/switchyard/transport"
)

const (
	scheme = "switchyard://"
	// anyRank stands for all ranks in the name of a certificate.
	anyRank = "*"
	// maxJobName bounds the name of a job in a certificate. It is the bound of DNS, since the name
	// is the host of a URI.
	maxJobName = 253
	maxLabel   = 63
)

// Name is what a certificate of the rank must hold as a URI: switchyard://<job>/rank/<n>.
// [transport.None] gives the name of all ranks, which is accepted if TLS.AnyRank is set.
func Name(job string, rank transport.Rank) string {
	n := anyRank
	if rank != transport.None {
		n = strconv.Itoa(int(rank))
	}
	return scheme + job + "/rank/" + n
}

// checkJobName returns an error if job cannot be in a certificate.
func checkJobName(job string) error {
	ok := job != "" && len(job) <= maxJobName
	for label := range strings.SplitSeq(job, ".") {
		ok = ok && label != "" && len(label) <= maxLabel
	}
	for _, c := range []byte(job) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		ok = ok && (letter || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		return fmt.Errorf("secure: job name %.80q cannot be in a certificate, as it is not letters, digits, '-', '_' "+
			"and dots between them: set TLS.Job", job)
	}
	return nil
}

// ranksOf returns which ranks of job the certificate names. One that names none is refused.
func ranksOf(cert *x509.Certificate, job string, wildcard bool) (Peer, error) {
	p := Peer{mode: byTLS}
	var names []string
	for _, u := range cert.URIs {
		name := u.String()
		names = append(names, name)
		n, ours := strings.CutPrefix(name, scheme+job+"/rank/")
		if !ours {
			continue
		}
		if n == anyRank && wildcard {
			p.all = true
		}
		if r, err := strconv.ParseUint(n, 10, 31); err == nil && strconv.FormatUint(r, 10) == n {
			p.ranks = append(p.ranks, transport.Rank(r))
		}
	}
	p.names = strings.Join(names, ", ")
	if !p.all && len(p.ranks) == 0 {
		return Peer{}, fmt.Errorf("%w: certificate names %.200q, want %q", ErrUnauthenticated, p.names, scheme+job+"/rank/…")
	}
	return p, nil
}
