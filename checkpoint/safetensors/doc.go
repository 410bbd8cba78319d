// Package safetensors reads and writes files of tensors in the safetensors format, and the index
// that lists the tensors of a checkpoint in several files ("shards"), as Hugging Face tools write
// them. It knows names, element types, shapes and bytes, and no model.
//
// A file is the length of its header (8 bytes, little-endian), the header (JSON), and the bytes of
// the tensors, row-major and little-endian, without gaps. [Open] reads the header only; tensors are
// read into the memory of the caller. To write, [NewPlan] takes all names, types and shapes, and a
// [Writer] the bytes, from the memory of the caller; so neither needs memory for a tensor. Both
// compute the CRC-32C of what they move.
//
// What is valid follows version 0.8.0 of the reference implementation
// (https://github.com/huggingface/safetensors), in its accidents too: of two tensors of one name
// the last counts, tensors may start at any byte. One thing differs: a dimension that an int does
// not hold, which is possible in a tensor without values only, is refused.
//
// The bytes of numbers are in the order of little-endian machines; nothing is converted.
package safetensors
