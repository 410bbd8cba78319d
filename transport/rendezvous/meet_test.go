package rendezvous

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// prompt bounds the time until a job that cannot complete fails, on a loaded machine too. Meetings
// have 20 s.
const prompt = 15 * time.Second

// enough is a timeout within which ranks that are there have met, on a loaded machine too. The test
// waits until it is over.
const enough = 3 * time.Second

func freeAddr(t testing.TB) string {
	for {
		// Below the ephemeral range: no outgoing connection of this machine takes it meanwhile.
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if l, err := net.Listen("tcp", addr); err == nil {
			require.NoError(t, l.Close())
			return addr
		}
	}
}

type outcome struct {
	table Table
	err   error
	took  time.Duration
}

// meetAll runs one Meet for each configuration at once.
func meetAll(ctx context.Context, configs []Config) []outcome {
	out := make([]outcome, len(configs))
	var wg sync.WaitGroup
	for i, c := range configs {
		wg.Go(func() {
			start := time.Now()
			out[i].table, out[i].err = Meet(ctx, c)
			out[i].took = time.Since(start)
		})
	}
	wg.Wait()
	return out
}

// job returns the configurations of n ranks that agree.
func job(t testing.TB, n int) []Config {
	addr := freeAddr(t)
	configs := make([]Config, n)
	for r := range n {
		configs[r] = Config{
			Rank: transport.Rank(r), Size: n, Addr: addr, Job: "job", Listen: fmt.Sprintf("127.0.0.1:%d", 7000+r),
			Settings: map[string]string{"experts": "8", "dtype": "bf16"}, Timeout: 20 * time.Second,
		}
	}
	return configs
}

func TestMeetGivesAllAddressesToAllRanks(t *testing.T) {
	for _, n := range []int{1, 2, 7} {
		out := meetAll(t.Context(), job(t, n))
		for r, o := range out {
			require.NoError(t, o.err, "rank %d", r)
			require.Len(t, o.table.Addrs, n)
			require.Equal(t, out[0].table, o.table)
			require.Equal(t, fmt.Sprintf("127.0.0.1:%d", 7000+r), o.table.Addrs[r])
		}
	}
}

// requireAllFail requires the same prompt error of all ranks.
func requireAllFail(t *testing.T, out []outcome, sentinel error, parts ...string) {
	t.Helper()
	for r, o := range out {
		require.ErrorIs(t, o.err, sentinel, "rank %d", r)
		require.Less(t, o.took, prompt, "rank %d", r)
		for _, part := range parts {
			require.ErrorContains(t, o.err, part, "rank %d", r)
		}
		require.Equal(t, out[0].err.Error(), o.err.Error(), "rank %d", r)
	}
}

func TestDifferingConfigurationFailsEveryRankByName(t *testing.T) {
	configs := job(t, 4)
	configs[2].Settings = map[string]string{"experts": "16", "dtype": "bf16"}
	requireAllFail(t, meetAll(t.Context(), configs), transport.ErrMismatch, `experts: rank 0 has "8", rank 2 has "16"`)
}

func TestMissingSettingIsADifference(t *testing.T) {
	configs := job(t, 2)
	configs[1].Settings = map[string]string{"experts": "8"}
	requireAllFail(t, meetAll(t.Context(), configs), transport.ErrMismatch, `dtype: rank 0 has "bf16", rank 1 has nothing`)
}

func TestWrongWorldSizeFailsEveryRank(t *testing.T) {
	configs := job(t, 4)
	configs[3].Size = 5
	requireAllFail(t, meetAll(t.Context(), configs), transport.ErrMismatch, "world size: rank 0 has 4, rank 3 has 5")
}

func TestRankOutsideTheJobFailsEveryRank(t *testing.T) {
	configs := job(t, 3)
	configs[2].Size, configs[2].Rank = 9, 8
	requireAllFail(t, meetAll(t.Context(), configs), transport.ErrMismatch, "rank 0 has 3, rank 8 has 9")
}

func TestDuplicateRankIsRefusedAndTheFirstGoesOn(t *testing.T) {
	configs := job(t, 3)
	var wg sync.WaitGroup
	var first [3]outcome
	arrived := make(chan struct{})
	start := func(r int) {
		wg.Go(func() { first[r].table, first[r].err = Meet(t.Context(), configs[r]) })
	}
	start(0)
	// The test itself is the first rank 1, so that it knows when that has been accepted.
	wg.Go(func() {
		v := client{cfg: configs[1], mine: configs[1].claim()}
		v.mine.left = time.Minute
		conn := dialUntil(t, configs[1].Addr)
		defer conn.Close()
		require.NoError(t, writeMessage(conn, kindHello, "job", v.mine.encode()))
		_, err := readMessage(conn, maxBodyBytes)
		require.NoError(t, err)
		close(arrived)
		for _, want := range []wireKind{kindMissing, kindTable, kindGo} {
			p, err := readMessage(conn, maxTableBytes(3))
			for err == nil && p.kind == kindMissing && want != kindMissing {
				p, err = readMessage(conn, maxTableBytes(3))
			}
			require.NoError(t, err)
			require.Equal(t, want, p.kind)
			if want == kindTable {
				v.report(conn, &refusal{code: refuseNothing})
			}
		}
	})
	<-arrived
	begin := time.Now()
	_, err := Meet(t.Context(), configs[1])
	require.ErrorIs(t, err, transport.ErrDuplicateRank)
	require.ErrorContains(t, err, "rank 1 of job")
	require.Less(t, time.Since(begin), prompt)
	_, err = Meet(t.Context(), configs[0])
	require.ErrorIs(t, err, transport.ErrDuplicateRank, "a second rank 0")
	start(2)
	wg.Wait()
	require.NoError(t, first[0].err)
	require.NoError(t, first[2].err)
}

func dialUntil(t testing.TB, addr string) net.Conn {
	var conn net.Conn
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", addr)
		conn = c
		return err == nil
	}, 5*time.Second, time.Millisecond)
	return conn
}

func TestAnotherJobIsRefusedAndThisOneGoesOn(t *testing.T) {
	configs := job(t, 2)
	other := configs[1]
	other.Job = "other"
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := Meet(t.Context(), configs[0])
		require.NoError(t, err)
	})
	_, err := Meet(t.Context(), other)
	require.ErrorIs(t, err, transport.ErrMismatch)
	require.ErrorContains(t, err, `belongs to "job"`)
	_, err = Meet(t.Context(), configs[1])
	require.NoError(t, err)
	wg.Wait()
}

func TestAnotherVersionFailsTheJobNamingBoth(t *testing.T) {
	configs := job(t, 2)
	errs := make(chan error, 1)
	go func() {
		_, err := Meet(t.Context(), configs[0])
		errs <- err
	}()
	conn := dialUntil(t, configs[0].Addr)
	defer conn.Close()
	var b bytes.Buffer
	require.NoError(t, writeMessage(&b, kindHello, "job", nil))
	b.Bytes()[5] = 9
	_, err := conn.Write(b.Bytes())
	require.NoError(t, err)
	p, err := readMessage(conn, maxBodyBytes)
	require.NoError(t, err)
	f, err := decodeRefusal(p.body)
	require.NoError(t, err)
	require.Contains(t, f.text, "protocol version: rank 0 has 2")
	err = <-errs
	require.ErrorIs(t, err, transport.ErrMismatch)
	require.ErrorContains(t, err, "has 9")
}

func TestMissingRanksAreNamedAtTheDeadline(t *testing.T) {
	t.Parallel() // it only waits
	configs := job(t, 4)
	for i := range configs {
		configs[i].Timeout = enough
	}
	out := meetAll(t.Context(), []Config{configs[0], configs[2]})
	for _, o := range out {
		require.ErrorIs(t, o.err, transport.ErrTimeout)
		require.ErrorContains(t, o.err, "2 of 4 ranks missing after 3s: 1, 3")
		require.Equal(t, transport.Rank(1), transport.CulpritOf(o.err))
	}
}

func TestNoRankZero(t *testing.T) {
	t.Parallel() // it only waits
	configs := job(t, 2)
	configs[1].Timeout = enough
	_, err := Meet(t.Context(), configs[1])
	require.ErrorIs(t, err, transport.ErrTimeout)
	require.Equal(t, transport.Rank(0), transport.CulpritOf(err))
	require.ErrorContains(t, err, "refused")
}

func TestMeetEndsWithItsContext(t *testing.T) {
	configs := job(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for _, o := range meetAll(ctx, configs[:2]) {
		require.ErrorIs(t, o.err, context.DeadlineExceeded)
		require.Less(t, o.took, prompt)
	}
}

// unknownClients returns the first bytes of clients that do not belong to a job.
func unknownClients() map[string][]byte {
	random := make([]byte, 4096)
	_, _ = crand.Read(random)
	huge := make([]byte, headBytes)
	copy(huge, []byte{0x53, 0x57, 0x59, 0x52, 0, 1, 0, 1})
	copy(huge[40:], []byte{0xff, 0xff, 0xff, 0xff})
	return map[string][]byte{
		"http":   []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"tls":    {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
		"random": random,
		"length": huge,
		"silent": nil,
		"short":  {0x53, 0x57},
	}
}

func TestUnknownClientsDoNoHarm(t *testing.T) {
	configs := job(t, 2)
	errs := make(chan error, 1)
	go func() {
		_, err := Meet(t.Context(), configs[0])
		errs <- err
	}()
	var open []net.Conn
	for range 3 * secure.MaxPending / len(unknownClients()) {
		for _, first := range unknownClients() {
			c := dialUntil(t, configs[0].Addr)
			defer c.Close()
			_, _ = c.Write(first)
			open = append(open, c)
		}
	}
	_, err := Meet(t.Context(), configs[1])
	require.NoError(t, err)
	require.NoError(t, <-errs)
	for _, c := range open { // every one of them has been dropped
		_ = c.SetReadDeadline(time.Now().Add(3 * handshakeTimeout))
		_, err := io.Copy(io.Discard, c)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
}

func TestOnlyTheNamedAddressIsListenedOn(t *testing.T) {
	configs := job(t, 2)
	errs := make(chan error, 1)
	go func() {
		_, err := Meet(t.Context(), configs[0])
		errs <- err
	}()
	dialUntil(t, configs[0].Addr).Close()
	_, port, _ := net.SplitHostPort(configs[0].Addr)
	var n int
	_, _ = fmt.Sscan(port, &n)
	var found []string
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Skip("no /proc/net")
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 3 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) {
				found = append(found, f[1])
			}
		}
	}
	require.Equal(t, []string{fmt.Sprintf("0100007F:%04X", n)}, found)
	_, err := Meet(t.Context(), configs[1])
	require.NoError(t, err)
	require.NoError(t, <-errs)
}

func TestAddressesBeyondLoopbackNeedInsecure(t *testing.T) {
	for addr, ok := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "127.9.9.9:1": true,
		"10.0.0.1:1": false, "0.0.0.0:1": false, "[::]:1": false, "example.org:1": false,
	} {
		require.Equal(t, ok, CheckBind(addr, false) == nil, addr)
		require.NoError(t, CheckBind(addr, true), addr)
	}
	require.Error(t, CheckBind(":1", true))
	_, err := Meet(t.Context(), Config{Size: 2, Addr: "10.0.0.1:7"})
	require.ErrorContains(t, err, "set Insecure")
}

func TestValidateReportsEveryFault(t *testing.T) {
	err := Config{Rank: 5, Size: 2, Addr: "x", Timeout: -1, Job: "a\nb", Settings: map[string]string{"a=b": "c",
		"long": strings.Repeat("x", maxSettingsBytes)}}.Validate()
	for _, part := range []string{"Rank 5", "Timeout", "not host:port", "job name", `"a=b"`, "limit 2048"} {
		require.ErrorContains(t, err, part)
	}
}

// TestWhatAPeerSaysIsPrintable: a refusal, the names of settings and addresses come from other
// processes, and appear in errors and logs.
func TestWhatAPeerSaysIsPrintable(t *testing.T) {
	const hostile = "x\nlevel=INFO\x1b[2J\u202e\xff"
	said := refusal{refuseMismatch, 1, ""}
	body := said.encode()
	body = binary.BigEndian.AppendUint16(body[:len(body)-2], uint16(len(hostile)))
	got, err := decodeRefusal(append(body, hostile...))
	require.NoError(t, err)
	require.EqualError(t, got.err(), `switchyard: rank 1: rendezvous: x\nlevel=INFO\x1b[2J\u202e\xff: ranks disagree about the job`)

	theirs := map[string]string{"a\x1b[2J": hostile}
	require.Equal(t, `a\x1b[2J: rank 0 has nothing, rank 1 has "x\nlevel=INFO\x1b[2J\u202e\xff"`, difference(nil, theirs, "rank 0", "rank 1"))

	c := claim{size: 2, rank: 1, job: "j", listen: hostile}
	_, err = decodeClaim(c.encode())
	require.ErrorIs(t, err, errNotRendezvous)
	table := Table{Addrs: []string{"127.0.0.1:1", hostile}}
	_, _, err = decodeTable(table.encode(time.Second), 2)
	require.ErrorIs(t, err, errNotRendezvous)
}

func requirePrintable(t *testing.T, s string) {
	t.Helper()
	require.Equal(t, printable.Text(s, 1<<20), s)
}

// TestNoChangedBitIsRead changes each bit of a message: the kind and the job in its head, its
// length and its body.
func TestNoChangedBitIsRead(t *testing.T) {
	c := claim{size: 4, rank: 2, job: "j", listen: "127.0.0.1:1", text: "a=b\n", left: time.Minute, agent: "a", restart: 3}
	var b bytes.Buffer
	require.NoError(t, writeMessage(&b, kindHello, "j", c.encode()))
	whole := b.Bytes()
	got, err := readMessage(bytes.NewReader(whole), maxBodyBytes)
	require.NoError(t, err)
	back, err := decodeClaim(got.body)
	require.NoError(t, err)
	require.Equal(t, c, back)
	for bit := range 8 * len(whole) {
		changed := bytes.Clone(whole)
		changed[bit/8] ^= 1 << (bit % 8)
		p, err := readMessage(bytes.NewReader(changed), maxBodyBytes)
		// then the message is another version's, of which only the head is read
		if err == nil {
			require.NotEqual(t, uint16(wireVersion), p.version, "bit %d", bit)
		}
	}
}

func FuzzReadParcel(f *testing.F) {
	var b bytes.Buffer
	c := claim{size: 4, rank: 2, job: "j", listen: "127.0.0.1:1", text: "a=b\n"}
	_ = writeMessage(&b, kindHello, "j", c.encode())
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := readMessage(bytes.NewReader(raw), maxBodyBytes)
		if err != nil {
			return
		}
		if c, err := decodeClaim(p.body); err == nil {
			require.Equal(t, p.body, c.encode())
		}
		if r, err := decodeRefusal(p.body); err == nil {
			requirePrintable(t, r.err().Error())
		}
		if table, _, err := decodeTable(p.body, 3); err == nil {
			requirePrintable(t, strings.Join(table.Addrs, " "))
		}
		settings, _ := parseSettings(string(p.body))
		requirePrintable(t, difference(nil, settings, "rank 0", "rank 1"))
	})
}
