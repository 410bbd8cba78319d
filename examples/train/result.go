package main

import (
	"encoding/json"
	"os"
)

// result is what -json writes.
type result struct {
	Ranks           int     `json:"ranks"`
	Transport       string  `json:"transport"`
	Steps           int     `json:"steps"`
	Seed            uint64  `json:"seed"`
	LossFirst       float64 `json:"loss_first"`
	LossLast        float64 `json:"loss_last"`
	ValLoss         float64 `json:"val_loss"`
	BigramValLoss   float64 `json:"bigram_val_loss"`
	TokensPerSecond float64 `json:"tokens_per_second"`
	WireBytes       uint64  `json:"wire_bytes"`
	DroppedTokens   int     `json:"dropped_tokens"`
	ParamSHA256     string  `json:"param_sha256"`
	Router          string  `json:"router"`
	// LooksAhead tells that the router's choices in evaluation depend on later bytes, so that ValLoss is not one of
	// prediction.
	LooksAhead bool `json:"looks_ahead"`
	// ExpertLoad is the number of bytes of the held-out text that chose each expert, before drops, for each layer.
	ExpertLoad [][]int `json:"expert_load"`
}

// write writes r to a file, as one object.
func (r result) write(path string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
