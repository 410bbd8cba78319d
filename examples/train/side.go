package main

import (
	"context"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/router"
)

// informed is a Switchyard layer as one micro-batch of a step goes through it: it is told of each
// row which byte it stands for, for routers that go by that.
type informed struct {
	*switchyard.Layer
	exact     *switchyard.Layer // evaluates in its place, if it is not nil
	asTrained bool              // Eval is a pass as in training
	trial     *switchyard.Pass  // the last of these

	pass     *switchyard.Pass // of this step, nil if there is one micro-batch alone
	stats    switchyard.Stats // of the last call
	shared   sharedOut
	side     router.Batch
	features []float32

	gates, next int // gates of the layer, and the one for the next batch
}

// Modalities of bytes.
const (
	letterModality int32 = iota
	otherModality
)

// byteClasses is the number of features of a byte, of which one is 1.
const byteClasses = 6

// Tokens says what the rows of the next call stand for.
func (l *informed) Tokens(tokens []byte) {
	l.side.IDs, l.side.Modality = l.side.IDs[:0], l.side.Modality[:0]
	l.features = l.features[:0]
	for _, b := range tokens {
		l.side.IDs = append(l.side.IDs, int32(b))
		l.side.Modality = append(l.side.Modality, modalityOf(b))
		var row [byteClasses]float32
		row[classOf(b)] = 1
		l.features = append(l.features, row[:]...)
	}
	l.side.Features = blas32.General{Rows: len(tokens), Cols: byteClasses, Stride: byteClasses, Data: l.features}
}

// begin gives the micro-batch a pass of its own for the next step.
func (l *informed) begin() (err error) {
	if l.pass != nil {
		if err := l.pass.Release(); err != nil {
			return err
		}
	}
	l.pass, err = l.NewPass()
	return err
}

// Forward is that of the layer, or of the pass, with what the rows stand for.
func (l *informed) Forward(ctx context.Context, x blas32.General) (y blas32.General, err error) {
	side := l.side
	side.Gate = l.next
	l.next = (l.next + 1) % l.gates
	if l.pass == nil {
		y, err = l.ForwardBatch(ctx, x, side)
		l.stats = l.Stats()
	} else {
		y, err = l.pass.Forward(ctx, x, side)
		l.stats = l.pass.Stats()
	}
	l.shared.add(l.stats.Balance)
	return y, err
}

// Backward is that of the layer, or of the pass.
func (l *informed) Backward(ctx context.Context, dy blas32.General) (blas32.General, error) {
	if l.pass == nil {
		return l.Layer.Backward(ctx, dy)
	}
	return l.pass.Backward(ctx, dy)
}

// Eval is that of the layer, with what the rows stand for.
func (l *informed) Eval(ctx context.Context, x blas32.General) (blas32.General, error) {
	if l.asTrained {
		return l.try(ctx, x)
	}
	layer := l.Layer
	if l.exact != nil {
		layer = l.exact
	}
	y, err := layer.EvalBatch(ctx, x, l.side)
	l.stats = layer.Stats()
	return y, err
}

// try is a forward pass as in training, without what follows there.
func (l *informed) try(ctx context.Context, x blas32.General) (y blas32.General, err error) {
	if err := l.endTrial(); err != nil {
		return y, err
	}
	if l.trial, err = l.ForwardPass(ctx, x, l.side); err != nil {
		return y, err
	}
	l.stats = l.trial.Stats()
	return l.trial.Output(), nil
}

// endTrial gives back what the last try has kept.
func (l *informed) endTrial() error {
	p := l.trial
	if l.trial = nil; p == nil {
		return nil
	}
	return p.Release()
}

func modalityOf(b byte) int32 {
	if c := classOf(b); c == 0 || c == 1 {
		return letterModality
	}
	return otherModality
}

// classOf sorts bytes into small letters, capitals, digits, white space, what else can be printed,
// and the rest.
func classOf(b byte) int {
	switch {
	case 'a' <= b && b <= 'z':
		return 0
	case 'A' <= b && b <= 'Z':
		return 1
	case '0' <= b && b <= '9':
		return 2
	case b == ' ' || b == '\n' || b == '\t':
		return 3
	case ' ' < b && b < 127:
		return 4
	}
	return 5
}
