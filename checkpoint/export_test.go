package checkpoint

import "time"

// File is what a saver writes to.
type File = file

// CreateFile is how a saver makes files.
var CreateFile = createFile

// SyncFolder puts the names in a folder on the disk.
var SyncFolder = syncFolder

// SetBeat sets how often a busy rank says so.
func (s *Saver) SetBeat(beat time.Duration) { s.ranks.beat = beat }

// SetCreate has a saver make files by another function.
func (s *Saver) SetCreate(create func(path string) (File, error)) { s.create = create }
