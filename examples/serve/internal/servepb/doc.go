// Package servepb holds the messages and the service of examples/serve, generated from serve.proto.
package servepb

// The path that protoc is told becomes the file's name in a registry that all of a program's .proto
// files share.
//go:generate protoc -I../../../.. --go_out=../../../.. --go_opt=paths=source_relative --go-grpc_out=../../../.. --go-grpc_opt=paths=source_relative examples/serve/internal/servepb/serve.proto
