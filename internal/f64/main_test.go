package f64

import (
	"testing"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }
