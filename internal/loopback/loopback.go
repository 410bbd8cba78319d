// Package loopback finds addresses of this machine at which ranks of a test or an example can meet.
package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Addr returns a loopback address at which nobody listens. Its port lies below those that the
// system gives to connections, so that none of them takes it meanwhile. It panics where there is
// none.
func Addr() string {
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		if err := l.Close(); err == nil {
			return addr
		}
	}
	panic("loopback: no free port from 20000 to 31999")
}
