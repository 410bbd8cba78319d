// Package lsh compresses similar rows before they are sent: LSH-MoE (Nie et al. 2024). It clusters
// the rows of each expert by locality-sensitive hashing, and the centroid of a cluster is sent in
// place of its rows. From the expert's output for the centroid it computes the output of each row
// ([Compensation]). The backward pass sends as few rows. The package is pure: it knows no network.
//
// [Compressor.Compress] returns centroids and a [Pass], whose methods are the other three steps:
//
//	rows      ──Compress────────▶ centroids ─▶ (experts) ─▶ outputs ──Restore─────────▶ row outputs
//	gradients ◀─CompressBackward─ … ◀──────────────────────────────── RestoreBackward ── gradients
//
// Gradients are exact, with clusters and interpolation weights held constant. Yet those of rows are
// far from the gradients without compression, however many rows there are: the gradient of an
// output is no function of the row, so that a mean over a cluster says little of one of its rows. A
// layer of package switchyard therefore sends the gradients of all rows in few bits, and takes
// CompressBackward's only on request (switchyard.Compression.ClusterGradients).
//
// [Residual] and [Codebook] are another use of centroids: a codec that writes every row, as the
// difference from one of a few centroids that both sides have. What is said below is not of them.
//
// # Not causal
//
// A cluster mixes rows of any position, so what a token gets back depends on later tokens of its
// own sequence, and on other sequences of the batch. Compression is for training. Evaluation and
// generation run without it: a compressed evaluation looks into the future, and cannot be repeated
// token by token.
//
// # The same rows give the same bits
//
// Rotations come from Config.Seed, sums have a stated order, and kernels in assembly agree with
// those in Go to the bit, so on every machine the same rows of a row group give the same clusters,
// centroids and outputs. They do depend on which rows are compressed together, and so on the number
// of ranks. With the build tag openblas, refinement and interpolation are no longer defined to the
// bit; [Controlled] buckets also depend on the batches before.
package lsh
