// Package openapi owns the OpenAPI definitions of the native types that the API server serves.
//
// They are a verbatim part of those in k8s.io/kubernetes, which has 1,500 more: those would be built at each start, and held,
// for nothing (7 MB of heap, 6 MB of binary).
package openapi

//go:generate go test -run TestDefinitionsAreUpToDate -update .
