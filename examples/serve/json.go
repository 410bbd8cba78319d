package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// tokensJSON is a request, and an answer.
type tokensJSON struct {
	Tokens []row `json:"tokens"`
}

// row is a token.
type row []float32

// UnmarshalJSON refuses null, which would be 0.
func (r *row) UnmarshalJSON(text []byte) error {
	if bytes.IndexByte(text, 'n') >= 0 {
		return errors.New("null in tokens, want numbers")
	}
	return json.Unmarshal(text, (*[]float32)(r))
}

// decodeTokens returns the numbers of a request's rows, one after another.
func decodeTokens(body []byte, dim int) ([]float32, error) {
	var t tokensJSON
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&t); err != nil {
		return nil, fmt.Errorf("the body: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the body goes on after its JSON object")
	}
	values := make([]float32, 0, len(t.Tokens)*dim)
	for i, r := range t.Tokens {
		if len(r) != dim {
			return nil, fmt.Errorf("token %d has %d numbers, want %d", i, len(r), dim)
		}
		values = append(values, r...)
	}
	return values, nil
}

// encodeTokens is the answer in JSON. All of its values are finite.
func encodeTokens(values []float32, dim int) ([]byte, error) {
	t := tokensJSON{Tokens: []row{}}
	for i := 0; i < len(values); i += dim {
		t.Tokens = append(t.Tokens, values[i:i+dim])
	}
	text, err := json.Marshal(t)
	return append(text, '\n'), err
}
