package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// digest is the SHA-256 of all parameters as little-endian float32: the dense ones in the order of
// the model's parts, then each Switchyard layer's, block by block, gate first and then the experts
// of all ranks in order of their numbers. Every rank must call it, and gets the same.
func (t *trainer) digest(ctx context.Context) (string, error) {
	h := sha256.New()
	for _, set := range t.dense {
		if err := binary.Write(h, binary.LittleEndian, set.Value); err != nil {
			return "", err
		}
	}
	for _, layer := range t.layers {
		tensors, err := layer.Parameters(ctx)
		if err != nil {
			return "", err
		}
		for _, tensor := range tensors {
			if err := binary.Write(h, binary.LittleEndian, tensor.Data); err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
