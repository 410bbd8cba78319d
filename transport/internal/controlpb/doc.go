// Package controlpb holds the messages of transport/grpc's control plane, generated from
// control.proto.
package controlpb

// The path that protoc is told becomes the file's name in a registry that all of a program's .proto
// files share.
//go:generate protoc -I../../.. --go_out=../../.. --go_opt=paths=source_relative transport/internal/controlpb/control.proto
