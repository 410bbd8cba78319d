// Command member is one rank that joins the others, gets a message from each, and reports who they
// are. deploy/launchers/run starts it under every launcher.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport"
)

// report is the result of a rank, a file of JSON.
type report struct {
	Rank   transport.Rank
	Size   int
	Source string
	Hosts  []string // of all ranks, sorted, each once
	Tokens []string // likewise
	Took   float64  // seconds that joining took
	Error  string
}

func main() {
	token := flag.String("token", "", "names this launch: the reports of ranks that met hold the names of all their launches")
	out := flag.String("out", "", "folder of the reports; none is written without it")
	timeout := flag.Duration("timeout", 20*time.Second, "how long to wait for the others")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r := meet(ctx, *token, *timeout)
	line, err := json.Marshal(r)
	if err == nil && *out != "" {
		err = write(*out, line)
	}
	fmt.Println(string(line))
	if err != nil || r.Error != "" {
		os.Exit(1)
	}
}

// write writes a new file, and renames it when it is whole. Process numbers may be equal in
// containers.
func write(folder string, line []byte) error {
	f, err := os.CreateTemp(folder, "*.part")
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Close(), os.Rename(f.Name(), strings.TrimSuffix(f.Name(), "part")+"json"))
}

// meet joins the job and exchanges messages with all its ranks.
func meet(ctx context.Context, token string, timeout time.Duration) report {
	began := time.Now()
	w, err := switchyard.Join(ctx, switchyard.JoinConfig{Timeout: timeout, Insecure: true})
	r := report{Took: time.Since(began).Seconds()}
	if err == nil {
		r.Rank, r.Size, r.Source = w.Rank(), w.Size(), w.Source()
		err = errors.Join(hear(ctx, w, &r, token), w.Close())
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// word is the message of each rank to the others.
type word struct{ Host, Token string }

func hear(ctx context.Context, w *switchyard.World, r *report, token string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	host, _ := os.Hostname()
	mine, err := json.Marshal(word{host, token})
	if err != nil {
		return err
	}
	t := w.Transport()
	// a message this short is kept until its receiver asks for it
	for to := range transport.Rank(w.Size()) {
		if err := t.Send(ctx, to, 1, mine); err != nil {
			return err
		}
	}
	for from := range transport.Rank(w.Size()) {
		b := make([]byte, 1<<10)
		n, err := t.Recv(ctx, from, 1, b)
		if err != nil {
			return err
		}
		var said word
		if err := json.Unmarshal(b[:n], &said); err != nil {
			return fmt.Errorf("word of rank %d: %w", from, err)
		}
		r.Hosts, r.Tokens = append(r.Hosts, said.Host), append(r.Tokens, said.Token)
	}
	for _, s := range []*[]string{&r.Hosts, &r.Tokens} {
		slices.Sort(*s)
		*s = slices.Compact(*s)
	}
	return w.Comm().Barrier(ctx)
}
