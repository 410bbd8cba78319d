package svgtest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// record notes whether a test failed.
type record struct{ failed bool }

func (r *record) Errorf(string, ...any) { r.failed = true }
func (r *record) FailNow()              { r.failed = true; panic(r) }

func fails(svg string) (failed bool) {
	var r record
	defer func() {
		if recover() != nil {
			failed = r.failed
		}
	}()
	Readable(&r, []byte(svg), "")
	return r.failed
}

func TestReadable(t *testing.T) {
	head := `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100" font-size="10" font-family="A, B, sans-serif">`
	for what, c := range map[string]struct {
		body  string
		fails bool
	}{
		"apart":               {`<text x="10" y="20">one</text><text x="40" y="20">two</text>`, false},
		"on each other":       {`<text x="10" y="20">one</text><text x="20" y="22">two</text>`, true},
		"cut off":             {`<text x="90" y="20">word</text>`, true},
		"ends in time":        {`<text x="90" y="20" text-anchor="end">word</text>`, false},
		"above the edge":      {`<text x="10" y="2">word</text>`, true},
		"style has the size":  {`<text x="40" y="60" style="font-size:40px">word</text>`, true},
		"turned":              {`<text transform="translate(20 90) rotate(-90)">a long line of it</text><text x="30" y="50">by</text>`, false},
		"turned onto another": {`<text transform="translate(20 90) rotate(-90)">a long line of it</text><text x="10" y="50">by</text>`, true},
		"mirrored twice":      {`<g transform="scale(1, -1) translate(0, -100)"><text x="10" y="-20" transform="scale(1, -1)">one</text></g>`, false},
		"one font":            {`<text x="10" y="20" font-family="Liberation Sans">one</text>`, true},
		"no generic font":     {`<text x="10" y="20" font-family="A, B, C">one</text>`, true},
		"nothing":             {``, true},
		"lines apart":         {`<text x="10" y="20"><tspan>one</tspan><tspan x="10" y="40">two</tspan></text>`, false},
		"lines on each other": {`<text x="10" y="20"><tspan>one</tspan><tspan x="12" y="22">two</tspan></text>`, true},
	} {
		require.Equal(t, c.fails, fails(head+c.body+"</svg>"), what)
	}
}
