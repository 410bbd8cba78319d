package main

import (
	"fmt"
	"strings"
	"unicode"
)

// tell prints how the job ended: the losses, a sample, and where the held-out bytes went.
func (j *job) tell(held report, sample []byte) {
	r := j.result
	fmt.Fprintf(j.out, "\ntrained %d steps in %.1f s: %.0f tokens/s, %s on the wire, %d choices dropped\n\n",
		r.Steps, j.took.Seconds(), r.TokensPerSecond, byteCount(r.WireBytes), r.DroppedTokens)
	fmt.Fprintf(j.out, "held-out loss    %.4f nats/byte\n", r.ValLoss)
	if j.options.lossy() {
		fmt.Fprintf(j.out, "as trained       %.4f nats/byte (rows travel as in training)\n", r.ValLossTrained)
	}
	if j.options.objective == nextObjective {
		fmt.Fprintf(j.out, "bigram's         %.4f nats/byte (add-one, same bytes)\n", r.BigramValLoss)
		fmt.Fprintf(j.out, "                 %s\n", verdict(r.ValLoss, r.BigramValLoss))
	}
	fmt.Fprintln(j.out)
	if len(sample) > 0 {
		fmt.Fprintf(j.out, "sample, after %q of the held-out text:\n%s\n\n", j.data.prompt(), indent(printable(sample)))
	}
	for i, load := range held.load {
		fmt.Fprintf(j.out, "expert load of block %d, held-out text:\n%s\n", 2*i+1, barChart(load))
	}
	for i, l := range j.layers {
		if choice := l.Stats().Compression.Choice; choice != "" {
			fmt.Fprintf(j.out, "rows of block %d: %s\n", 2*i+1, choice)
		}
	}
	for i := range j.layers {
		if s := j.sharedOf(i); s.passes > 0 && j.options.shareExperts != shareNever {
			fmt.Fprintf(j.out, "rows of block %d over the ranks: %s; %d choices dropped\n", 2*i+1, s, j.dropped[i])
		}
	}
	fmt.Fprintf(j.out, "parameters: sha256 %s\n", r.ParamSHA256)
}

func verdict(model, bigram float64) string {
	if model < bigram {
		return fmt.Sprintf("%.4f below the bigram", bigram-model)
	}
	return fmt.Sprintf("%.4f above the bigram: too few steps to tell more than pairs of bytes do", model-bigram)
}

// printable is text with every byte that a terminal would not show as one character replaced.
func printable(text []byte) string {
	var b strings.Builder
	for _, c := range text {
		switch {
		case c == '\n' || c < unicode.MaxASCII && unicode.IsPrint(rune(c)):
			b.WriteByte(c)
		default:
			b.WriteRune('·')
		}
	}
	return b.String()
}

// indent sets a paragraph off from what is said about it.
func indent(text string) string {
	const margin = "  | "
	return margin + strings.ReplaceAll(strings.Trim(text, "\n"), "\n", "\n"+margin)
}
