package checkpoint

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzMetadata: what is read from an index is valid, and the same after it is written again.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"switchyard_format":1,"switchyard_step":3,"switchyard_ranks":2,"switchyard_crc32c":{"a":"0011aaff"},"switchyard_metadata":{"k":"v"}}`))
	f.Add([]byte(`{"switchyard_format":2}`))
	f.Add([]byte(`{"switchyard_format":1,"switchyard_step":-3,"switchyard_ranks":2,"switchyard_crc32c":{"a":"+011aaff"}}`))
	f.Add([]byte(`{"switchyard_format":1,"SWITCHYARD_STEP":3,"switchyard_ranks":2,"switchyard_crc32c":null,"switchyard_places":{"a":"h:/x"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var fields map[string]json.RawMessage
		if json.Unmarshal(text, &fields) != nil {
			t.Skip()
		}
		m, err := parseMetadata(fields)
		if err != nil || m.Format == 0 {
			return
		}
		require.Equal(t, format, m.Format)
		require.GreaterOrEqual(t, m.Step, 0)
		require.Positive(t, m.Ranks)
		again, err := m.fields()
		require.NoError(t, err)
		n, err := parseMetadata(again)
		require.NoError(t, err)
		if len(m.Places) == 0 {
			m.Places, n.Places = nil, nil
		}
		if len(m.Program) == 0 {
			m.Program, n.Program = nil, nil
		}
		require.Equal(t, m, n)
	})
}

// FuzzFolder: a name that is taken for a step's is the one that a save would give it.
func FuzzFolder(f *testing.F) {
	for _, name := range []string{"step-00000001", "step-123456789.2", "step-0", "step-00000001.0", "step--0000001", "step-99999999999999999999"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if step, revision, ok := parseFolder(name); ok {
			require.GreaterOrEqual(t, step, 0)
			require.Equal(t, name, folderName(step, revision))
		}
	})
}
