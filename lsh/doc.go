// Package lsh finds out which rows are alike enough to travel as one: LSH-MoE (Nie et al. 2024). Of
// the rows that are bound for one expert it makes clusters, by locality-sensitive hashing; the
// centroid of a cluster travels in place of its rows; and when the expert's answer to the centroid
// is home again, each row's own answer is made up from it ([Compensation]). The backward pass goes
// the same way with as few rows. The package is pure: it knows no network.
//
// [Compressor.Compress] returns centroids and a [Pass], whose methods are the other three legs:
//
//	rows ──Compress──▶ centroids ─▶ (experts) ─▶ answers ──Restore──▶ answers of the rows
//	gradient of the rows ◀──CompressBackward── … ◀──RestoreBackward── gradient of the answers of the rows
//
// Gradients are exact, with clusters and interpolation weights held constant.
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
// their twins in Go to the bit, so on every machine the same rows of a group give the same
// clusters, centroids and answers. They do depend on which rows are compressed together, and so on
// the number of ranks. With the build tag openblas, refinement and interpolation are no longer
// defined to the bit; [Controlled] buckets also depend on the batches before.
package lsh
