package secure

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
)

// minSecretBytes is the least length of a secret: 128 bits, if they are random.
const minSecretBytes = 16

// redacted is printed in place of a secret.
const redacted = "[secret]"

// Secret is a shared secret. Formatting, logging and marshalling it shows nothing of it.
type Secret []byte

// String hides s.
func (s Secret) String() string { return redacted }

// Format hides s under every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue hides s from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides s from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// parseSecret takes a secret from the content of its file.
func parseSecret(path string, content []byte) ([]byte, error) {
	s := bytes.TrimSuffix(bytes.TrimSuffix(content, []byte("\n")), []byte("\r"))
	if len(s) < minSecretBytes {
		return nil, fmt.Errorf("secure: secret in %s has %d bytes, at least %d are needed", path, len(s), minSecretBytes)
	}
	return s, nil
}
