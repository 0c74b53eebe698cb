// Package gopacket owns what gvisor-tap-vsock uses of the module of that path: what prints packets when it is debugged, and
// Lima does not debug it. The real module fills tables of 6 MB in every process that it is linked into: see
// docs/decisions/0008-before-main.md.
package gopacket

import "encoding/hex"

// DecodeOptions say how much of a packet is decoded. Here nothing is.
type DecodeOptions struct{}

// Default is the zero DecodeOptions.
var Default DecodeOptions

// LayerType names the layer that a packet begins with.
type LayerType int

// Packet is the bytes of a packet.
type Packet []byte

// NewPacket returns data as a Packet.
func NewPacket(data []byte, _ LayerType, _ DecodeOptions) Packet { return data }

// String dumps the packet in hexadecimal.
func (p Packet) String() string { return hex.Dump(p) }
