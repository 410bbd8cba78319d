package safetensors

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/switchyard-moe/switchyard/internal/printable"
)

// maxDepth is how deep objects and lists may stand in each other: serde_json's limit.
const maxDepth = 127

// scanner reads JSON from text, which is valid UTF-8, strictly as serde_json does. It copies
// nothing: strings without escapes are parts of text.
type scanner struct {
	text  string
	pos   int
	depth int
}

func (s *scanner) errorf(format string, args ...any) error {
	return fmt.Errorf("byte %d: %s", s.pos, fmt.Sprintf(format, args...))
}

// next skips white space and returns the byte that follows, or 0 at the end, without taking it.
func (s *scanner) next() byte {
	for ; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; c {
		case ' ', '\n', '\t', '\r':
		default:
			return c
		}
	}
	return 0
}

// take takes c, if it is what follows.
func (s *scanner) take(c byte) bool {
	if s.next() != c || s.pos == len(s.text) {
		return false
	}
	s.pos++
	return true
}

// end fails unless only white space follows.
func (s *scanner) end() error {
	if s.next(); s.pos < len(s.text) {
		return s.errorf("%s after the end of the JSON value", s.what())
	}
	return nil
}

// what names what follows, for errors.
func (s *scanner) what() string {
	switch c := s.next(); {
	case s.pos == len(s.text):
		return "the end"
	case c == '{':
		return "an object"
	case c == '[':
		return "a list"
	case c == '"':
		return "a string"
	case c == '-' || '0' <= c && c <= '9':
		return "a number"
	case strings.HasPrefix(s.text[s.pos:], "null"):
		return "null"
	case strings.HasPrefix(s.text[s.pos:], "true"), strings.HasPrefix(s.text[s.pos:], "false"):
		return "a bool"
	}
	r, _ := utf8.DecodeRuneInString(s.text[s.pos:])
	return strconv.QuoteRune(r)
}

// object reads an object. It calls value for each key, to read the key's value.
func (s *scanner) object(value func(key string) error) error {
	return s.sequence('{', '}', "an object", func(int) error {
		key, err := s.str()
		if err != nil {
			return err
		}
		if !s.take(':') {
			return s.errorf("%s instead of a colon", s.what())
		}
		return value(key)
	})
}

// list reads a list. It calls value for each number from 0, to read the value there.
func (s *scanner) list(value func(i int) error) error {
	return s.sequence('[', ']', "a list", value)
}

// sequence reads values between begin and end that commas separate.
func (s *scanner) sequence(begin, end byte, kind string, value func(i int) error) error {
	if !s.take(begin) {
		return s.errorf("%s instead of %s", s.what(), kind)
	}
	if s.depth++; s.depth > maxDepth {
		return s.errorf("more than %d objects and lists in each other", maxDepth)
	}
	defer func() { s.depth-- }()
	for i := 0; i == 0 && !s.take(end) || i > 0; i++ {
		if err := value(i); err != nil {
			return err
		}
		if s.take(end) {
			return nil
		}
		if !s.take(',') {
			return s.errorf("%s instead of a comma or the end of %s", s.what(), kind)
		}
	}
	return nil
}

// str reads a string.
func (s *scanner) str() (string, error) {
	if !s.take('"') {
		return "", s.errorf("%s instead of a string", s.what())
	}
	for begin := s.pos; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; {
		case c == '"':
			s.pos++
			return s.text[begin : s.pos-1], nil
		case c == '\\':
			return s.escaped(begin)
		case c < ' ':
			return "", s.errorf("a string holds the control character %#02x", c)
		}
	}
	return "", s.errorf("the end within a string")
}

// escaped reads the rest of a string from its first escape on.
func (s *scanner) escaped(begin int) (string, error) {
	var b strings.Builder
	b.WriteString(s.text[begin:s.pos])
	for s.pos < len(s.text) {
		c := s.text[s.pos]
		s.pos++
		switch {
		case c == '"':
			return b.String(), nil
		case c == '\\':
			r, err := s.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
		case c < ' ':
			return "", s.errorf("a string holds the control character %#02x", c)
		default:
			b.WriteByte(c)
		}
	}
	return "", s.errorf("the end within a string")
}

// The bytes after a backslash, and what those mean that stand for one byte.
const (
	escapes = `"\/bfnrtu`
	meant   = "\"\\/\b\f\n\r\t"
)

// escape reads what follows a backslash.
func (s *scanner) escape() (rune, error) {
	if s.pos == len(s.text) {
		return 0, s.errorf("the end within a string")
	}
	i := strings.IndexByte(escapes, s.text[s.pos])
	if i < 0 {
		return 0, s.errorf("an unknown escape in a string")
	}
	s.pos++
	if i < len(meant) {
		return rune(meant[i]), nil
	}
	r, err := s.hex()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if strings.HasPrefix(s.text[s.pos:], `\u`) {
		s.pos += 2
		low, err := s.hex()
		if err != nil {
			return 0, err
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, nil
		}
	}
	return 0, s.errorf("half of a surrogate pair in a string")
}

// hex reads the four digits of an escape.
func (s *scanner) hex() (rune, error) {
	var r rune
	for range 4 {
		if s.pos == len(s.text) {
			return 0, s.errorf("the end within a string")
		}
		digit, err := strconv.ParseUint(s.text[s.pos:s.pos+1], 16, 8)
		if err != nil {
			return 0, s.errorf("an escape in a string has a digit that is not hexadecimal")
		}
		r, s.pos = r<<4|rune(digit), s.pos+1
	}
	return r, nil
}

// number reads a number and returns its text.
func (s *scanner) number() (string, error) {
	if c := s.next(); c != '-' && (c < '0' || c > '9') {
		return "", s.errorf("%s instead of a number", s.what())
	}
	begin := s.pos
	s.skipByte("-")
	whole := s.digits()
	valid := whole == 1 || whole > 1 && s.text[s.pos-whole] != '0'
	if s.skipByte(".") {
		valid = s.digits() > 0 && valid
	}
	if s.skipByte("eE") {
		s.skipByte("+-")
		valid = s.digits() > 0 && valid
	}
	text := s.text[begin:s.pos]
	if !valid {
		return "", s.errorf("%s is not a number", printable.Text(text, 40))
	}
	return text, nil
}

// skipByte takes one of the bytes of set, if one follows at once.
func (s *scanner) skipByte(set string) bool {
	if s.pos == len(s.text) || strings.IndexByte(set, s.text[s.pos]) < 0 {
		return false
	}
	s.pos++
	return true
}

// digits takes the digits that follow at once and returns how many.
func (s *scanner) digits() int {
	begin := s.pos
	for s.pos < len(s.text) && '0' <= s.text[s.pos] && s.text[s.pos] <= '9' {
		s.pos++
	}
	return s.pos - begin
}

// natural reads a whole number of up to 64 bits. Neither 2.0 nor -0 is one.
func (s *scanner) natural() (uint64, error) {
	text, err := s.number()
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, s.errorf("%s is not a whole number from 0 to 2^64 - 1", printable.Text(text, 40))
	}
	return n, nil
}

// skip reads a value of any kind.
func (s *scanner) skip() error {
	switch c := s.next(); {
	case c == '{':
		return s.object(func(string) error { return s.skip() })
	case c == '[':
		return s.list(func(int) error { return s.skip() })
	case c == '"':
		_, err := s.str()
		return err
	case c == '-' || '0' <= c && c <= '9':
		text, err := s.number()
		if err == nil {
			if _, over := strconv.ParseFloat(text, 64); over != nil {
				return s.errorf("the number %s is out of range", printable.Text(text, 40))
			}
		}
		return err
	}
	for _, word := range []string{"null", "true", "false"} {
		if strings.HasPrefix(s.text[s.pos:], word) {
			s.pos += len(word)
			return nil
		}
	}
	return s.errorf("%s instead of a value", s.what())
}
