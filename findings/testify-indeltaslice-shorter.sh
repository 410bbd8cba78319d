#!/usr/bin/env bash
# testify v1.12.1, assert.InDeltaSlice: passes where the actual slice is shorter than the expected one, as elements beyond
# the actual slice's end are never compared. A test of numbers that lost their tail stays green.
# Also: InDelta(1, 100, NaN) is true, so a tolerance that is computed from a NaN accepts everything.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >go.mod <<'MOD'
module finding

go 1.24
MOD
cat >main.go <<'GO'
package main

import (
	"fmt"
	"math"

	"github.com/stretchr/testify/assert"
)

type quiet struct{}

func (quiet) Errorf(string, ...any) {}

func main() {
	want := []float64{1, 2, 3}
	fmt.Println("one element short:", assert.InDeltaSlice(quiet{}, want, []float64{1, 2}, 0.1))
	fmt.Println("empty:", assert.InDeltaSlice(quiet{}, want, []float64{}, 0.1))
	fmt.Println("a wrong element:", assert.InDeltaSlice(quiet{}, want, []float64{1, 2, 4}, 0.1))
	fmt.Println("a delta of NaN:", assert.InDelta(quiet{}, 1.0, 100.0, math.NaN()))
}
GO
go get -x github.com/stretchr/testify@v1.12.1 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
got=$(go run .)
printf '%s\n' "$got"
want='one element short: true
empty: true
a wrong element: false
a delta of NaN: true'
[ "$got" = "$want" ] || { echo "testify behaves otherwise now; expected:"; echo "$want"; exit 1; }
