package main

import (
	"fmt"
	"go/ast"
	"strings"
	"unicode"
)

// standard has, for each word that this project does not use, words that every reader knows. Prose
// is searched for whole words, names for parts of them ("rowTotals" has the parts row and totals).
var standard = map[string]string{
	"absorb":    "add, merge",
	"aside":     "beside, shared expert",
	"census":    "batch information",
	"condemn":   "reject",
	"contest":   "comparison",
	"courier":   "delay queue",
	"crowd":     "clients",
	"disown":    "withdraw",
	"echoes":    "replies",
	"favours":   "prefers, enables",
	"foretell":  "predict",
	"foretells": "predicts",
	"foretold":  "predicted",
	"forgive":   "reset",
	"forsaken":  "peer gone",
	"guest":     "member, client",
	"heats":     "rounds",
	"heed":      "wait for, obey",
	"hurry":     "flush",
	"linger":    "wait, grace period",
	"lingers":   "waits",
	"lingering": "waiting",
	"mailbox":   "matching queue",
	"mates":     "peers",
	"rouse":     "wake",
	"seat":      "rank",
	"squeeze":   "compress",
	"squeezed":  "compressed",
	"squeezing": "compressing",
	"stranger":  "unknown client",
	"strangers": "unknown clients",
	"toll":      "cost",
	"twin":      "copy, micro-batch, Go version",
	"twins":     "copies, micro-batches, Go versions",
	"visitor":   "client",
	"whoever":   "who, the one that",
	"whom":      "that, which",
	"whomever":  "the one that",
}

// standardPhrase has the same for two words that follow one another in prose.
var standardPhrase = map[[2]string]string{
	{"so", "many"}: "n, the number of",
	{"so", "much"}: "n, the amount of",
}

// prose looks at a line of a comment or document. Words in capitals are names of other systems.
func (f *figures) prose(file string, line int, text string) {
	last := ""
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) }) {
		lower := strings.ToLower(word)
		if better, ok := standard[lower]; ok && word != strings.ToUpper(word) {
			f.word(file, line, word, better)
		}
		if better, ok := standardPhrase[[2]string{strings.ToLower(last), lower}]; ok {
			f.word(file, line, last+" "+word, better)
		}
		last = word
	}
}

// identifiers looks at the parts of declared names.
func (s *source) identifiers(names ...*ast.Ident) {
	for _, name := range names {
		for _, part := range parts(name.Name) {
			if better, ok := standard[part]; ok {
				s.word(s.name, s.line(name), name.Name, better)
			}
		}
	}
}

func (f *figures) word(file string, line int, word, better string) {
	f.words = append(f.words, place{file, line, fmt.Sprintf("%q: better %s", word, better)})
}

// parts cuts a name before each capital and at each underscore, and returns the parts in lower
// case.
func parts(name string) []string {
	var b strings.Builder
	for _, r := range name {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.FieldsFunc(b.String(), func(r rune) bool { return r == '_' })
}
