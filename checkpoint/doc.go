// Package checkpoint saves the state of a job and loads it again, on any number of ranks.
//
// A [Saver] writes what each rank hosts, tensor after tensor, into files in the safetensors format,
// which Python's safetensors opens. Layer.State and Dense.State of package switchyard list the
// tensors. A checkpoint is a folder:
//
//	DIR/step-00000017/
//	    model-00001-of-00004.safetensors      the parameters that one rank writes
//	    model.safetensors.index.json          which file has which, in the layout of Hugging Face
//	    training-00001-of-00004.safetensors   moments of the optimizer, counters
//	    training.safetensors.index.json
//
// Files are written under temporary names, put on the disk (fsync) and renamed; the index of the
// model comes last. A folder without it is incomplete: it is never loaded, and the next save
// removes it. So a job that is killed at any moment finds its last complete checkpoint. The indexes
// hold the CRC-32C of each tensor, the step, the number of ranks, and a version of all this
// (switchyard_format); a newer version is refused.
//
// [Load] reads each tensor into the memory of its owner, and checks everything that can be checked
// before it changes anything. [List], [Latest] and [Verify] need no ranks.
package checkpoint
