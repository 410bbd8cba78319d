package harness

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
)

// trainPackage is the program that trains.
const trainPackage = "github.com/switchyard-moe/switchyard/examples/train"

// Trainer is examples/train, built into a temporary folder, where a command may keep its own files.
type Trainer struct{ Program, Folder string }

// NewTrainer builds the program for a command of bench, which calls Remove at its end.
func NewTrainer(ctx context.Context, command string) (*Trainer, error) {
	dir, err := os.MkdirTemp("", "switchyard-bench-"+command+"-")
	if err != nil {
		return nil, err
	}
	t := &Trainer{Program: filepath.Join(dir, "train"), Folder: dir}
	if _, err := Output(ctx, "go", "build", "-o", t.Program, trainPackage); err != nil {
		return nil, errors.Join(err, t.Remove())
	}
	return t, nil
}

// Remove removes the folder.
func (t *Trainer) Remove() error { return os.RemoveAll(t.Folder) }

// QuietFlags are those of examples/train by which it shows and draws nothing on its way.
func QuietFlags() []string {
	return []string{"-svg", "", "-sample", "0", "-eval-every", "0", "-progress", "none"}
}

// SmallModel are the flags of examples/train for the model that loss is compared on, of width 128;
// a short one is only to see that a command works.
func SmallModel(short bool) []string {
	if short {
		return []string{"-dim", "16", "-hidden", "16", "-expert-hidden", "16", "-layers", "2"}
	}
	return []string{"-dim", "128", "-hidden", "256", "-expert-hidden", "256"}
}

// ReadJSON reads a file that holds one object.
func ReadJSON(file string, to any) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, to)
}
