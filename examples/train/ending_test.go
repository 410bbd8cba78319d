package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestResultIsOneObject(t *testing.T) {
	path := t.TempDir() + "/result.json"
	want := result{
		Ranks: 4, Transport: "tcp", Steps: 20, Seed: 7, LossFirst: 5.5, LossLast: 3.25, ValLoss: 3.5, BigramValLoss: 2.5,
		TokensPerSecond: 1000, WireBytes: 1 << 40, DroppedTokens: 3, ParamSHA256: "ab",
		Parameters: 12, MomentBytes: 96,
		Router: "topk", ExpertLoad: [][]int{{1, 2}},
	}
	require.NoError(t, want.write(path))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, `{"ranks":4,"transport":"tcp","steps":20,"seed":7,"loss_first":5.5,"loss_last":3.25,"val_loss":3.5,`+
		`"val_loss_trained":0,"bigram_val_loss":2.5,"tokens_per_second":1000,"wire_bytes":1099511627776,"sum_bytes":0,"step_ms":0,"exchange_share":0,"course":null,"dropped_tokens":3,"param_sha256":"ab","parameters":12,"moment_bytes":96,"router":"topk","looks_ahead":false,"expert_load":[[1,2]]}`+"\n", string(text))
	var got result
	require.NoError(t, json.Unmarshal(text, &got))
	require.Equal(t, want, got)
}

func TestBars(t *testing.T) {
	lines := strings.Split(barChart([]int{8, 4, 0}), "\n")
	require.Equal(t, "  expert   0 "+strings.Repeat("█", 40)+"  66.7%", lines[0])
	require.Equal(t, "  expert   1 "+strings.Repeat("█", 20)+strings.Repeat(" ", 20)+"  33.3%", lines[1])
	require.Equal(t, "  expert   2 "+strings.Repeat(" ", 40)+"   0.0%", lines[2])
	require.Equal(t, "▉", bar(0.875/chartWidth))
	require.NotPanics(t, func() { barChart([]int{0, 0}) })
}

func TestLoadInOneLine(t *testing.T) {
	require.Equal(t, "█▁▄", sparkline([][]int{{4, 0, 2}, {4, 0, 2}}))
	require.Equal(t, "▁▁", sparkline([][]int{{0, 0}}))
	require.Empty(t, sparkline(nil))
	require.InDelta(t, 2, imbalance([][]int{{1, 1}, {2, 0}}), 1e-9)
	require.Zero(t, imbalance([][]int{{0, 0}}))
}

func TestByteCount(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_949: "999.9 kB", 999_950: "1.0 MB", 12_300_000_000: "12.3 GB",
	} {
		require.Equal(t, want, byteCount(n))
	}
}

func TestPrintable(t *testing.T) {
	require.Equal(t, "a ·\n··~", printable([]byte("a \t\n\xff\x1b~")))
	require.Equal(t, "  | a\n  | b", indent("\na\nb\n"))
}

func TestVerdict(t *testing.T) {
	require.Equal(t, "0.5000 below the bigram", verdict(2, 2.5))
	require.Contains(t, verdict(3, 2.5), "0.5000 above the bigram")
}

func TestLossCurve(t *testing.T) {
	h := history{bigram: 2.5}
	h.addTrain(1, 5)
	h.addTrain(2, 3)
	h.addTrain(3, 4)
	h.addHeld(3, 4)
	path := t.TempDir() + "/loss.svg"
	require.NoError(t, h.draw(path))
	svg, err := os.ReadFile(path)
	require.NoError(t, err)
	for _, want := range []string{"<svg", "training", "held out", "bigram", "optimizer step", "nats per byte"} {
		require.Contains(t, string(svg), want)
	}
	require.Equal(t, 4.0, smooth(h.train, 1)[1].Y)
	require.Equal(t, 5.0, smooth(h.train, 1)[0].Y)
	require.Error(t, h.draw(path+".unknown"))
}
