// Package autotune chooses into how many chunks a layer cuts the exchanges of its passes.
//
// A [Tuner] times steps of training with their exchanges in one chunk and in the largest number of
// chunks, in turns. It fits to each operation a cost of α for each chunk and β for all of the rows,
// and predicts every other number by simulating the graph of the pass (schedule.Pipeline): what
// FSMoE (Pan et al., ASPLOS 2025) does in closed form, without its four cases. It then times the
// candidates, those that may be the fastest by that prediction, and takes the fastest. Later it
// compares the time of the passes with what it was after the choice, and starts again if that has
// changed.
//
// What was timed is a [Profile], plain data: a later job on the same machines that is given it
// chooses at once.
package autotune
