// Package models opens published checkpoints of mixture-of-experts models and returns their blocks
// as configurations of layers, which compute what the reference implementation (Hugging Face
// transformers 5.23.0) computes. It reads config.json and safetensors files, and no other part of
// a model: attention and embeddings are the program's own.
//
// [Open] reads the description of each [Block]; [Model.Config] makes the configuration of its
// layer, which reads the weights when the layer is built: each rank those of the experts that it
// hosts. What a family needs and this library does not have is an error, never another result.
package models
