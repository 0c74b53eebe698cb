// Package faults owns the proof that VMs, data and strangers survive whatever dies or misbehaves: the real driver against
// stand-ins (internal/hostagent/standin), of which there can be many at once and which fail on request.
package faults
