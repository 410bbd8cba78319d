package main

import (
	"math/rand/v2"
	"strings"
)

// generatedBytes is the length of a generated text: about that of the shipped one.
const generatedBytes = 500_000

// grammar is the rules of the generated language. A word in capitals is replaced by one of its
// expansions; likely ones are listed more than once. No symbol leads back to itself.
var grammar = map[string][]string{
	"SENTENCE": {"CLAUSE.", "CLAUSE.", "CLAUSE, and CLAUSE.", "if CLAUSE, then CLAUSE.", "when CLAUSE, PLURAL PLURALVERB."},
	"CLAUSE":   {"NOUN VERB NOUN", "NOUN VERB NOUN", "NOUN VERB NOUN PLACE", "PLURAL PLURALVERB PLACE", "NOUN, which VERB NOUN, VERB NOUN"},
	"NOUN":     {"the THING", "the THING", "a QUALITY THING", "the QUALITY THING", "every THING", "the THING of PLURAL"},
	"THING":    {"prism", "ray", "lens", "mirror", "window", "colour", "shadow", "circle", "paper", "glass", "beam", "chamber"},
	"QUALITY":  {"red", "violet", "dark", "bright", "narrow", "thin", "polished", "distant", "second"},
	"PLURAL":   {"rays", "colours", "bodies", "rings", "lenses", "shadows", "experiments"},
	"VERB":     {"refracts", "reflects", "follows", "meets", "divides", "touches", "illuminates", "changes"},
	"PLURALVERB": {
		"converge", "diverge", "appear", "vanish", "return", "fall upon NOUN", "pass through NOUN",
	},
	"PLACE": {"in the chamber", "behind NOUN", "at a distance of COUNT feet", "upon the wall", "between PLURAL"},
	"COUNT": {"two", "three", "five", "seven", "ten", "twelve", "twenty"},
}

// sentencesOfParagraph is how many sentences stand between two empty lines.
const sentencesOfParagraph = 5

// generate writes a text of n bytes in the language of grammar. It is the same for the same seed.
func generate(seed uint64, n int) []byte {
	const stream = 0x74657874
	r := rand.New(rand.NewPCG(seed, stream))
	var b strings.Builder
	for i := 1; b.Len() < n; i++ {
		sentence := expand(r, "SENTENCE")
		b.WriteString(strings.ToUpper(sentence[:1]) + sentence[1:])
		if i%sentencesOfParagraph == 0 {
			b.WriteString("\n\n")
		} else {
			b.WriteByte(' ')
		}
	}
	return []byte(b.String()[:n])
}

// expand replaces a symbol by one of its expansions, and the symbols in it in turn.
func expand(r *rand.Rand, symbol string) string {
	choices := grammar[symbol]
	words := strings.Split(choices[r.IntN(len(choices))], " ")
	for i, w := range words {
		name := strings.TrimRight(w, ".,")
		if _, ok := grammar[name]; ok {
			words[i] = expand(r, name) + w[len(name):]
		}
	}
	return strings.Join(words, " ")
}
