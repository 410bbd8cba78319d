package main

import (
	"encoding/json"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/outfile"
)

// result is what -json writes.
type result struct {
	Ranks     int     `json:"ranks"`
	Transport string  `json:"transport"`
	Steps     int     `json:"steps"`
	Seed      uint64  `json:"seed"`
	LossFirst float64 `json:"loss_first"`
	LossLast  float64 `json:"loss_last"`
	// ValLoss is the loss of the held-out text where rows travel in float32 and none is compressed,
	// and ValLossTrained that where they travel as in training.
	ValLoss        float64 `json:"val_loss"`
	ValLossTrained float64 `json:"val_loss_trained"`
	// BigramValLoss is 0 with -objective masked.
	BigramValLoss   float64 `json:"bigram_val_loss"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	WireBytes       uint64  `json:"wire_bytes"`
	// SumBytes is what rank 0 sends in a step after its passes: gradients that are summed over the
	// ranks. With -overlap and -micro some are summed before.
	SumBytes uint64 `json:"sum_bytes"`
	// StepMS is the median time of a training step in milliseconds, and ExchangeShare the part of
	// all steps in which rank 0 exchanged rows, with -micro those of the first micro-batch.
	StepMS        float64 `json:"step_ms"`
	ExchangeShare float64 `json:"exchange_share"`
	// Course is what the held-out text showed in training, and at the end.
	Course        []look `json:"course"`
	DroppedTokens int    `json:"dropped_tokens"`
	ParamSHA256   string `json:"param_sha256"`
	// Parameters is the number of parameters of rank 0, and MomentBytes what the optimizer keeps for
	// them.
	Parameters  int    `json:"parameters"`
	MomentBytes int    `json:"moment_bytes"`
	Router      string `json:"router"`
	// LooksAhead tells that the router's choices in evaluation depend on later bytes, so that
	// ValLoss is not one of prediction.
	LooksAhead bool `json:"looks_ahead"`
	// ExpertLoad is the number of bytes of the held-out text that chose each expert, before drops,
	// for each layer.
	ExpertLoad [][]int `json:"expert_load"`
}

// look is one look at held-out text: after how many steps, seconds spent in them and bytes sent by
// all ranks, and its loss.
type look struct {
	Step      int     `json:"step"`
	Seconds   float64 `json:"seconds"`
	WireBytes uint64  `json:"wire_bytes"`
	Loss      float64 `json:"loss"`
}

// write writes r to a file, as one object.
func (r result) write(path string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return outfile.WriteBytes(path, append(text, '\n'))
}
