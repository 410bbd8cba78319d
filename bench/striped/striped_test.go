package striped

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-short", "-fault", "throttle", "-size", "4Ki"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{faultThrottle}, o.faults)
	require.Equal(t, 4096, o.bytes)
	require.Equal(t, 20, o.rounds)
	_, err = parseOptions([]string{"-links", "1", "-parity", "0", "-rounds", "1", "-rate", "1", "-fault", "fire", "-size", "x"}, io.Discard)
	for _, name := range []string{"-links 1", "-parity 0", "-rounds 1", "-rate 1", `"fire"`, "-size"} {
		require.ErrorContains(t, err, name)
	}
	var help bytes.Buffer
	_, err = parseOptions([]string{"-h"}, &help)
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, help.String(), "-parity")
}

// TestOutcome goes from what ranks say to rows, their table and the verdict.
func TestOutcome(t *testing.T) {
	faults := 0
	w := &watcher{inject: func() error { faults++; return nil }}
	for _, line := range []string{"now\n", `{"Rank":0,"Took":[3000,1000,2000],"Wrong":1}` + "\n", `{"Rank":1,"Took":[1,1,1]}` + "\n"} {
		_, err := w.Write([]byte(line))
		require.NoError(t, err)
	}
	w.wg.Wait()
	require.Equal(t, 1, faults)
	o := options{links: 5, bytes: 10, rate: 100}
	row, err := o.row(faultThrottle, 1, w.reports)
	require.NoError(t, err)
	require.Equal(t, 2.0, row.P50)
	require.Equal(t, 3.0, row.P99)
	row.compare(stripedRow{P50: 2, P99: 2})
	require.Equal(t, 1.5, row.P99Ratio)
	require.Contains(t, row.meets(), "missed")
	require.ErrorContains(t, verdict([]stripedRow{row}), "1 wrong bytes")

	down := stripedRow{Fault: faultDown, Error: "timed out"}
	require.NoError(t, verdict([]stripedRow{down}), "without parity a link that is down must be missed")
	down.Parity = 1
	require.Error(t, verdict([]stripedRow{down}))
	plain := stripedRow{Fault: faultThrottle, P99Ratio: 9}
	require.Contains(t, plain.meets(), "so it is")

	var table bytes.Buffer
	writeTable(&table, &o, []stripedRow{row, down})
	require.Contains(t, table.String(), "4+1")
	_, err = w.Write([]byte("nonsense\n"))
	require.NoError(t, err)
	require.Error(t, w.err)
	_, err = o.row(faultNone, 1, nil)
	require.Error(t, err)
}

// TestWithoutPrivileges: a process that may not make namespaces says so.
func TestWithoutPrivileges(t *testing.T) {
	if runtime.GOOS == "linux" && os.Geteuid() == 0 {
		t.Skip("root on Linux may")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := newLinks(ctx, 2, 100)
	require.ErrorContains(t, err, "nothing was measured")
	require.False(t, errors.Is(err, context.DeadlineExceeded))
}
