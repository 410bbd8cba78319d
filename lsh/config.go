package lsh

import (
	"errors"
	"fmt"
	"math"
)

// Config configures how rows are clustered and how their answers are restored. The zero value
// works: a fifth as many rows are sent, cut exactly, and answers are interpolated.
//
// A layer with compression is not causal: see the package's documentation. Set it for training
// alone.
type Config struct {
	// Family is the kind of hash.
	Family Family
	// Hashes is the number of codes that a row's tuple has; 0 stands for 6, as in the paper. With
	// [Cut] it bounds how fine clusters can become before nothing but distance is left to cut at: a
	// capacity, not a matter of quality.
	Hashes int
	// Width is the number of coordinates that a hash reads. A cross-polytope hash has 2·Width
	// values, and 0 stands for 8: from 4 to 32 it makes no difference at equal rate. A hyperplane
	// hash has 2^Width values, and 0 stands for 4. The tuple must fit into 64 bits.
	Width int
	// Rate is the number of rows sent divided by the number of rows, above 0 and at most 1; 0 stands
	// for 0.2. At 1 every row is sent, and its answer keeps its bits. [Joint] ignores it. Rows that
	// are far longer or shorter than most are counted separately: see [Compressor.Compress].
	Rate float64
	// Bucketing says how tuples become clusters.
	Bucketing Bucketing
	// Centre says what rows are measured from before they are hashed.
	Centre Centre
	// Refine is the number of Lloyd iterations after hashing: every row moves to the nearest
	// centroid, which is then the mean of its rows. 0 stands for 3 and -1 for none. One cuts the
	// error of answers by a fifth to a third, at rows × centroids × columns products for each row
	// group. No cluster loses its last row, so the number of centroids stays. At most 1000.
	Refine int
	// Compensation says how a row's answer is computed from that of its centroid.
	Compensation Compensation
	// Gain is the factor of [Gain] and the initial factor of [LearnedGain].
	Gain float32
	// Bandwidth and Ridge shape [Interpolate]: the squared width of the kernel is Bandwidth times
	// the mean squared distance of a row from its centroid; Ridge is added to the kernel matrix's
	// diagonal. Where one is 0, it is chosen in each pass, by how well the answers of some centroids
	// are found from those of others: that adapts to the expert, the rows and the wire format of
	// answers.
	Bandwidth, Ridge float32
	// Seed fixes the rotations.
	Seed uint64
	// Workers is the number of goroutines that row groups are shared among; 0 stands for GOMAXPROCS.
	// Results do not depend on it.
	Workers int
}

// Bucketing is a way from tuples of codes to clusters.
type Bucketing int

const (
	// Cut sorts a row group's rows by their tuples and cuts them where the most significant codes
	// differ, those farthest apart first among equals, until there are exactly as many clusters as
	// the rate asks for ([Config.Centroids]).
	Cut Bucketing = iota
	// Joint makes a cluster of the rows that have the same tuple, as the paper does (with Refine -1).
	// The rate is not controlled; it drifts by a factor of 3 to 10 in the course of training.
	Joint
	// Controlled is Joint with a control loop. Of each row group's tuples only some leading bits
	// count: the number that would have given the previous batch the configured rate. A fraction of
	// a bit applies to that fraction of the clusters.
	Controlled

	bucketings int = iota
)

// String returns the bucketing's name.
func (b Bucketing) String() string { return nameOf(int(b), "Bucketing", "cut", "joint", "controlled") }

// Centre is what rows are measured from.
type Centre int

const (
	// GroupMean measures rows from the mean of their row group. What a group's rows have in common
	// does not distinguish them, but would fill the hashes' largest coordinates.
	GroupMean Centre = iota
	// Origin hashes rows as they are, as the paper does.
	Origin

	centres int = iota
)

// String returns the centre's name.
func (c Centre) String() string { return nameOf(int(c), "Centre", "group mean", "origin") }

// Compensation is a way to compute a row's answer from the answers of centroids. Below, x is a row,
// c its centroid and E(c) the centroid's answer. A row that is alone in its cluster gets E(c).
type Compensation int

const (
	// Interpolate draws a smooth function through the pairs (c, E(c)) of the row's row group, which
	// the sender has in any case, and answers with its value at x: kernel ridge regression with a
	// Gaussian kernel, around the mean of the answers, among at most 512 centroids at a time, or 256
	// if Bandwidth and Ridge are given. It sends no more bytes. It is the default because it lost
	// the least quality in measurements. A row for which the regression cannot be solved, or whose
	// answer would not be finite, is answered as under None; so are all rows of a block whose
	// answers None is expected to find better, if Bandwidth or Ridge is 0.
	Interpolate Compensation = iota
	// Identity answers E(c) + x − c, as the paper does: it assumes that the expert passes small
	// differences on unchanged. An expert that returns its input gives every row back exactly: the
	// answer is computed as x − (c − E(c)).
	Identity
	// None answers E(c).
	None
	// Gain answers E(c) + g·(x − c) with g = Config.Gain. In measurements the best g was near 0.1.
	Gain
	// LearnedGain is Gain with a g for each row group, a parameter that the caller trains: see
	// [Compressor.Gains].
	LearnedGain
	// LearnedChannels is LearnedGain with a g for each row group and column.
	LearnedChannels

	compensations int = iota
)

// String returns the compensation's name.
func (c Compensation) String() string {
	return nameOf(int(c), "Compensation", "interpolate", "identity", "none", "gain", "learned gain", "learned channels")
}

func nameOf(i int, kind string, names ...string) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprintf("%s(%d)", kind, i)
	}
	return names[i]
}

// Learned tells whether factors are trained.
func (c Compensation) Learned() bool { return c == LearnedGain || c == LearnedChannels }

// gainsOf returns the number of factors of one row group whose rows have dim columns.
func (c Compensation) gainsOf(dim int) int {
	if c == LearnedChannels {
		return dim
	}
	return 1
}

// withDefaults returns c with its zeros filled in.
func (c Config) withDefaults() Config {
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orInt(&c.Hashes, 6)
	orInt(&c.Width, c.Family.width())
	orInt(&c.Refine, 3)
	if c.Rate == 0 {
		c.Rate = 0.2
	}
	return c
}

// maxRefine is far more iterations than any clustering needs, so that a wrong value is an error and
// not an endless pass.
const maxRefine = 1000

// Validate returns all that is wrong with c, or nil.
func (c Config) Validate() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf("lsh: "+format, args...))
		}
	}
	oneOf := func(field string, value, n int) {
		fault(value < 0 || value >= n, "unknown %s %d", field, value)
	}
	oneOf("Family", int(c.Family), families)
	oneOf("Bucketing", int(c.Bucketing), bucketings)
	oneOf("Centre", int(c.Centre), centres)
	oneOf("Compensation", int(c.Compensation), compensations)
	fault(c.Hashes < 0, "Hashes is %d, must be at least 0", c.Hashes)
	fault(c.Width < 0, "Width is %d, must be at least 0", c.Width)
	fault(c.Refine < -1 || c.Refine > maxRefine, "Refine is %d, want -1 to %d", c.Refine, maxRefine)
	fault(c.Workers < 0, "Workers is %d, must be at least 0", c.Workers)
	fault(!(c.Rate >= 0 && c.Rate <= 1), "Rate is %v, want 0 to 1", c.Rate)
	fault(!finite(c.Gain), "Gain is %v, must be finite", c.Gain)
	fault(!(c.Bandwidth >= 0) || !finite(c.Bandwidth), "Bandwidth is %v, want a finite number from 0", c.Bandwidth)
	fault(!(c.Ridge >= 0) || !finite(c.Ridge), "Ridge is %v, want a finite number from 0", c.Ridge)
	if d := c.withDefaults(); c.Hashes >= 0 && c.Width >= 0 {
		fault(d.Hashes > 64 || d.Width > 1<<20 || d.Hashes*d.Family.bits(d.Width) > 64,
			"%d hashes of width %d take more than the 64 bits of a tuple", d.Hashes, d.Width)
	}
	return errors.Join(faults...)
}

func finite(v float32) bool { return !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) }

// Centroids returns how many centroids [Cut] makes of a row group's rows: the least whole number
// that is not below Rate·rows, but for the rounding of that product. It is 0 for no rows, else at
// least 1 and at most rows.
func (c Config) Centroids(rows int) int {
	if rows <= 0 {
		return 0
	}
	exact := c.withDefaults().Rate * float64(rows)
	return min(max(int(math.Ceil(exact-exact*1e-12)), 1), rows)
}
