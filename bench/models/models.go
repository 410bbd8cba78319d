// Package models is a command of bench: it checks the blocks of models against vectors that another
// library computed.
package models

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/internal/modelcheck"
	"github.com/switchyard-moe/switchyard/models"
)

const usage = `usage: go run ./bench models DIR…

Opens the checkpoint in each folder and computes its mixture-of-experts blocks on 1, 2 and 4 ranks. The results are held
against the vectors in golden.safetensors: choices exactly; weights, outputs and auxiliary losses to 1e-5, and gradients of
inputs and of every tensor to 1e-4, of the largest value wanted. There is a line for each folder: its name and "ok", "WRONG"
with what differs and by how much, or "cannot" with what this library lacks.

Exits with 1 if a folder is wrong, else with 0.
`

// Run is the command "models".
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	dirs, code := harness.Files("models", usage, args, stdout, stderr)
	if len(dirs) == 0 {
		return code
	}
	harness.NewPace(stderr, "models", 1, harness.Times(len(dirs), 100*time.Millisecond))
	ok, wrong, cannot := 0, 0, 0
	for _, dir := range dirs {
		name := filepath.Base(filepath.Clean(dir))
		err := modelcheck.Folder(ctx, dir, 1, 2, 4)
		if ctx.Err() != nil {
			break
		}
		switch {
		case err == nil:
			fmt.Fprintln(stdout, name, "ok")
			ok++
		case errors.Is(err, models.ErrUnsupported):
			fmt.Fprintln(stdout, name, "cannot:", line(err))
			cannot++
		default:
			fmt.Fprintln(stdout, name, "WRONG:", line(err))
			wrong++
		}
	}
	fmt.Fprintf(stdout, "%d ok, %d wrong, %d cannot\n", ok, wrong, cannot)
	if wrong > 0 || ctx.Err() != nil {
		return 1
	}
	return 0
}

// line puts the text of an error on one line, and cuts it where it is long.
func line(err error) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	const most = 400
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
