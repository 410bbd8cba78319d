package mpi

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// TestLauncherOfAnotherMPI: if MPI has one rank and a launcher has started several, that is an
// error.
func TestLauncherOfAnotherMPI(t *testing.T) {
	seen := func(vars map[string]string) map[string]int {
		return rendezvous.Sizes(func(name string) string { return vars[name] })
	}
	mpich := map[string]string{"PMI_RANK": "2", "PMI_SIZE": "4"}
	require.ErrorContains(t, separateJob(1, seen(mpich)), "MPI knows of 1 rank, but pmi has started 4")
	require.NoError(t, separateJob(4, seen(mpich)))
	require.NoError(t, separateJob(1, seen(nil)))
	step := map[string]string{"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}
	require.ErrorContains(t, separateJob(1, seen(step)), "slurm has started 2")
	// mpirun -n 1 in each task
	step["OMPI_COMM_WORLD_RANK"], step["OMPI_COMM_WORLD_SIZE"] = "0", "1"
	require.NoError(t, separateJob(1, seen(step)))
}
