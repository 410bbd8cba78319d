package grpc

// The path that protoc is told becomes the file's name in a registry that all of a program's .proto files share.
//go:generate protoc -I../.. --go_out=../.. --go_opt=paths=source_relative transport/grpc/control.proto
