package admission

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport/secure/securetest"
)

// scratchDir is a folder in which processes leave files for each other.
type scratchDir struct{ dir string }

const (
	releaseName = "release"
	lookEvery   = 5 * time.Millisecond
)

func listenName(rank int) string { return fmt.Sprintf("listen.%d", rank) }
func turnName(i int) string      { return fmt.Sprintf("turn.%d", i) }
func goName(i int) string        { return fmt.Sprintf("go.%d", i) }
func reportName(rank int) string { return fmt.Sprintf("report.%d", rank) }

// put writes a file, all at once.
func (b scratchDir) put(name, text string) error {
	path := filepath.Join(b.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// await waits until there is a file of that name.
func (b scratchDir) await(ctx context.Context, name string) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		if _, err := os.Stat(filepath.Join(b.dir, name)); err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", name, ctx.Err())
		}
	}
}

// addresses are all at which ranks have listened.
func (b scratchDir) addresses() []string {
	notes, _ := filepath.Glob(filepath.Join(b.dir, "listen.*"))
	var all []string
	for _, n := range notes {
		text, err := os.ReadFile(n)
		if err == nil && !strings.HasSuffix(n, ".new") {
			all = append(all, strings.Fields(string(text))...)
		}
	}
	return all
}

// clients connect at a steady rate without belonging to the job.
type clients struct {
	b    scratchDir
	rate int
	wg   sync.WaitGroup

	mu               sync.Mutex
	sent             int
	dropped, refused int
	held             time.Duration
}

func newClients(b scratchDir, rate int) *clients { return &clients{b: b, rate: rate} }

// send starts n clients, and returns when the last has started. Those that are late because
// this process did not run come at once.
func (c *clients) send(ctx context.Context, n int) {
	kinds, addresses := securetest.Clients(), c.b.addresses()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	start, sent := time.Now(), 0
	for sent < n && ctx.Err() == nil && len(addresses) > 0 {
		<-ticker.C
		due := min(n, int(time.Since(start)*time.Duration(c.rate)/time.Second))
		for ; sent < due; sent++ {
			kind := kinds[c.sent%len(kinds)]
			address := addresses[c.sent/len(kinds)%len(addresses)]
			c.sent++
			c.wg.Go(func() { c.connect(ctx, kind, address) })
		}
	}
}

func (c *clients) connect(ctx context.Context, kind securetest.Client, address string) {
	held, err := kind.Connect(ctx, address)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.dropped++
		c.held = max(c.held, held)
	case !errors.Is(err, context.Canceled):
		c.refused++
	}
}

// end waits for those that are under way, and says how all have fared.
func (c *clients) end() (dropped, refused int, held float64) {
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dropped, c.refused, c.held.Seconds()
}
