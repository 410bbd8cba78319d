package main

import (
	"time"

	"github.com/switchyard-moe/switchyard/param"
)

// course is what rank 0 keeps of every step, in a row for each of -steps. What the job tells at its
// end follows from it, and a checkpoint has it.
type course struct {
	rows []float64
	done int // steps
}

// The columns of a course.
const (
	lossColumn     = iota // of the training batch
	heldColumn            // a look at held-out text; 0 where there was none
	secondsColumn         // that the step took
	exchangeColumn        // seconds in which this rank exchanged rows
	wireColumn            // bytes that all ranks have sent so far
	droppedColumn         // choices dropped
	courseColumns
)

func newCourse(steps int) *course {
	return &course{rows: make([]float64, steps*courseColumns)}
}

// row is the row of step n, counted from 0.
func (c *course) row(n int) []float64 { return c.rows[n*courseColumns : (n+1)*courseColumns] }

// entry is the course as a tensor.
func (c *course) entry() param.Entry {
	return param.Entry{Name: "course", Role: param.Training, Writer: true,
		Shape: []int{len(c.rows) / courseColumns, courseColumns}, Data: c.rows}
}

// seconds is a number of seconds as a duration.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// replay has the job take note of the steps of a course that was loaded, as if it had taken them.
func (j *job) replay() {
	for n := range j.course.done {
		j.note(n)
		if loss := j.course.row(n)[heldColumn]; loss > 0 {
			j.look(n+1, loss)
		}
	}
}
