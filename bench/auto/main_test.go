package auto

import (
	"testing"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
