package tcp

import (
	"testing"

	"github.com/switchyard-moe/switchyard/transport/transporttest"
)

func TestOpener(t *testing.T) {
	transporttest.RunOpener(t, Opener{})
}
