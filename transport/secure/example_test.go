package secure_test

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// The URI that a rank's certificate must hold, and the one for all ranks of a job.
func ExampleName() {
	fmt.Println(secure.Name("demo", 3))
	fmt.Println(secure.Name("demo", transport.None))
	// Output:
	// switchyard://demo/rank/3
	// switchyard://demo/rank/*
}
