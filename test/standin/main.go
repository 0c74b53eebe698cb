// Command standin is the program that tests give the driver in place of rdd: its VMs are stand-ins.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/seed-192657fa/rdd/internal/hostagent/standin"
)

func main() {
	if err := standin.Main(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}
