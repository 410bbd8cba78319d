package gpt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"

	"github.com/switchyard-moe/switchyard/internal/f32"
)

// Sampling says how text is drawn from a model.
type Sampling struct {
	// Temperature divides the scores: below 1 likely bytes become likelier, and 0 always takes the
	// likeliest.
	Temperature float64
	// TopP leaves only the likeliest bytes that together have this probability, above 0 and up to 1.
	TopP float64
	// Seed fixes the draws.
	Seed uint64
}

// Validate reports every fault at once.
func (s Sampling) Validate() error {
	var errs []error
	if !(s.Temperature >= 0) {
		errs = append(errs, fmt.Errorf("gpt: Temperature is %v: must be at least 0", s.Temperature))
	}
	if !(s.TopP > 0 && s.TopP <= 1) {
		errs = append(errs, fmt.Errorf("gpt: TopP is %v: must be above 0 and at most 1", s.TopP))
	}
	return errors.Join(errs...)
}

// Sample continues prompt by n bytes and returns them. It is collective where the model's Layers
// are: every rank calls it with the same arguments, but only the one with speaker true computes and
// gets a result; the others take part in the Layers with no tokens. The model looks back on at most
// Config.Seq bytes; if the text grows longer, it goes on from the last half of that.
func (m *Model) Sample(ctx context.Context, prompt []byte, n int, s Sampling, speaker bool) ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	if m.config.Bidirectional {
		return nil, errors.New("gpt: Sample: a bidirectional model does not continue text")
	}
	if len(prompt) == 0 {
		return nil, errors.New("gpt: Sample: the prompt is empty")
	}
	seq := m.config.Seq
	m.resize(seq) // so that growing never moves the keys and values of earlier tokens
	const stream = 0x73616d70
	draw := rand.New(rand.NewPCG(s.Seed, stream))
	window, from := slices.Clone(prompt[max(0, len(prompt)-seq):]), 0
	text := make([]byte, 0, n)
	for range n {
		scores, err := m.next(ctx, window, from, speaker)
		if err != nil {
			return nil, err
		}
		b := byte(0)
		if speaker {
			b = s.pick(scores, draw)
		}
		text, from = append(text, b), len(window)
		if window = append(window, b); len(window) > seq {
			window, from = slices.Clone(window[len(window)-max(1, seq/2):]), 0
		}
	}
	if !speaker {
		return nil, nil
	}
	return text, nil
}

// next returns the scores of the byte that follows window, whose bytes before from were in the last
// call's window.
func (m *Model) next(ctx context.Context, window []byte, from int, speaker bool) ([]float32, error) {
	if !speaker {
		_, err := m.stream(ctx, nil, 0, Layer.Eval, 1)
		return nil, err
	}
	x, err := m.stream(ctx, window, from, Layer.Eval, len(window))
	if err != nil {
		return nil, err
	}
	n := len(window)
	m.head.resize(n)
	scores := m.head.scores(x, n-1, n)
	return row(scores, 0), nil
}

// pick draws a byte. It changes scores.
func (s Sampling) pick(scores []float32, draw *rand.Rand) byte {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return scores[order[a]] > scores[order[b]] })
	if s.Temperature == 0 {
		return byte(order[0])
	}
	f32.Scale(scores, float32(1/s.Temperature))
	softmax(scores)
	kept, mass := 0, 0.0
	for kept < len(order) && mass < s.TopP {
		mass += float64(scores[order[kept]])
		kept++
	}
	at := draw.Float64() * mass
	for _, i := range order[:kept] {
		if at -= float64(scores[i]); at < 0 {
			return byte(i)
		}
	}
	return byte(order[kept-1])
}
