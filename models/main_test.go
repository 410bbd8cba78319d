package models_test

import (
	"testing"

	"github.com/switchyard-moe/switchyard/internal/leaktest"
)

// TestMain fails where a test leaves a goroutine behind.
func TestMain(m *testing.M) { leaktest.Main(m) }
