package benchtest

import (
	"bytes"
	"context"
	"io"
	"testing"
)

// Call runs a command of bench with args, and returns its exit code and what it wrote to either
// output. The command's context ends with the test.
func Call(
	t testing.TB, run func(context.Context, []string, io.Writer, io.Writer) int, args ...string,
) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}
