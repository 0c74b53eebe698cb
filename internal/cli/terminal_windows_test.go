package cli

import (
	"context"
	"os"
	"os/signal"
)

func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt)
}
