// Marks the root of the module; each kubectl-*.mod beside it names a release of kubectl to build (scripts/compat).
module github.com/seed-192657fa/rdd/test/compat

go 1.26.0
