// Package layers owns the names of what a packet can begin with.
package layers

import "github.com/google/gopacket"

// LayerTypeEthernet is an Ethernet frame.
const LayerTypeEthernet gopacket.LayerType = 17
