package admission

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// listening returns where this process listens by IPv4. known is false where the system does not
// tell as Linux does.
func listening() (open []string, known bool) {
	table, err := os.ReadFile("/proc/self/net/tcp")
	fds, fdErr := os.ReadDir("/proc/self/fd")
	if err != nil || fdErr != nil {
		return nil, false
	}
	mine := make(map[string]bool)
	for _, fd := range fds {
		link, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if socket, ok := strings.CutPrefix(link, "socket:["); ok && err == nil {
			mine[strings.TrimSuffix(socket, "]")] = true
		}
	}
	return parseListeners(string(table), mine), true
}

// memory watches how much of this process is resident.
type memory struct {
	stop chan struct{}
	wg   sync.WaitGroup

	mu   sync.Mutex
	most int64
}

// watchMemory begins to watch.
func watchMemory() *memory {
	m := &memory{stop: make(chan struct{})}
	m.reset()
	m.wg.Go(func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				m.look()
			case <-m.stop:
				return
			}
		}
	})
	return m
}

func (m *memory) look() {
	n := m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.most = max(m.most, n)
}

// now is what is resident, or 0 where the system does not tell as Linux does.
func (m *memory) now() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	f := strings.Fields(string(text))
	if err != nil || len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// peak is the most since the last reset.
func (m *memory) peak() int64 {
	m.look()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.most
}

func (m *memory) reset() {
	m.mu.Lock()
	m.most = 0
	m.mu.Unlock()
	m.look()
}

func (m *memory) end() {
	close(m.stop)
	m.wg.Wait()
}
