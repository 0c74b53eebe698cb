// Command standin is the program that tests give the driver in place of rdd: its VMs are stand-ins.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/seed-192657fa/rdd/internal/hostagent/standin"
)

// The program that the variable names, which is rdd, takes the place of this one for VMs whose names begin with the prefix: so
// that real ones can be mixed in.
const (
	realVariable = "RDD_STANDIN_REAL"
	realPrefix   = "real"
)

func main() {
	args := os.Args[1:]
	if rdd := os.Getenv(realVariable); rdd != "" && len(args) == 3 && strings.HasPrefix(args[2], realPrefix) {
		fail(become(rdd, args, os.Environ()))
	}
	if err := standin.Main(context.Background(), args); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "Error:", err)
	os.Exit(1)
}
