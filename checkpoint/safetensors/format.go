package safetensors

import (
	"strconv"
	"strings"
)

// comma appends a comma unless value i is the first.
func comma(b []byte, i int) []byte {
	if i == 0 {
		return b
	}
	return append(b, ',')
}

// appendTensor appends what a header says of t, as serde_json writes it.
func appendTensor(b []byte, t Tensor) []byte {
	b = append(appendString(b, t.Name), `:{"dtype":"`...)
	b = append(b, t.DType.String()...)
	b = append(b, `","shape":[`...)
	for i, n := range t.Shape {
		b = strconv.AppendInt(comma(b, i), int64(n), 10)
	}
	b = append(b, `],"data_offsets":[`...)
	b = strconv.AppendInt(b, t.Offset, 10)
	b = strconv.AppendInt(append(b, ','), t.Offset+t.Bytes, 10)
	return append(b, "]}"...)
}

// appendString appends a JSON string with the escapes that serde_json writes: those that must be.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	begin := 0 // of what is not appended yet
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' {
			b = appendEscape(append(b, s[begin:i]...), c)
			begin = i + 1
		}
	}
	return append(append(b, s[begin:]...), '"')
}

func appendEscape(b []byte, c byte) []byte {
	if i := strings.IndexByte(meant, c); i >= 0 {
		return append(b, '\\', escapes[i])
	}
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
