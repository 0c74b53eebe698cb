// Package embed owns what kine uses of the package of that path: a few of etcd's defaults, as of etcd 3.7. The real package links
// a whole etcd server into every process: see docs/decisions/0008-before-main.md.
package embed

import (
	"math"
	"time"
)

// The limits of requests, and how connections are kept alive.
const (
	DefaultMaxRequestBytes       = 1.5 * 1024 * 1024 // in bytes
	DefaultMaxConcurrentStreams  = math.MaxUint32
	DefaultGRPCKeepAliveMinTime  = 5 * time.Second
	DefaultGRPCKeepAliveInterval = 2 * time.Hour
	DefaultGRPCKeepAliveTimeout  = 20 * time.Second
)
