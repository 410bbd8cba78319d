package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// authorize compares what a client sends with the token of -token-file, in a time that tells
// nothing about it.
func (o *options) authorize(header string) *refusal {
	if o.token == "" {
		return nil
	}
	scheme, sent, _ := strings.Cut(header, " ")
	want, got := sha256.Sum256([]byte(o.token)), sha256.Sum256([]byte(strings.TrimSpace(sent)))
	if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		return refuse(http.StatusUnauthorized, "want the header Authorization: Bearer with the token of this server")
	}
	return nil
}
