package topology

import _ "embed"

// Schema is the JSON Schema (draft 2020-12) of the topology file. It is made
// of the types in this package by go test ./topology -run Schema -update.
//
//go:embed schema.json
var Schema []byte
