package checkpoint

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// placeOf is host:folder. It is the same for all names of a folder that links give it.
func placeOf(dir string) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	full, err = withoutLinks(full)
	return host + ":" + full, err
}

// withoutLinks follows the links in a path, the end of which need not exist.
func withoutLinks(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	above := filepath.Dir(path)
	if !errors.Is(err, fs.ErrNotExist) || above == path {
		return real, err
	}
	real, err = withoutLinks(above)
	return filepath.Join(real, filepath.Base(path)), err
}

// here tells whether a place of files is the folder at path on this host.
func here(place, path string) bool {
	mine, err := placeOf(path)
	return err == nil && mine == place
}
