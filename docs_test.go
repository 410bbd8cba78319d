package switchyard

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/internal/svgtest"
)

// TestPicturesOfTheDocsAreReadable in any of the fonts that a reader may have.
func TestPicturesOfTheDocsAreReadable(t *testing.T) {
	files, err := filepath.Glob("docs/*.svg")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		svg, err := os.ReadFile(file)
		require.NoError(t, err)
		svgtest.Readable(t, svg, file)
	}
}
