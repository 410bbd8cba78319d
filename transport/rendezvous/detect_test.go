package rendezvous

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func from(vars map[string]string) func(string) string {
	return func(k string) string { return vars[k] }
}

func TestDetectReadsEachLauncher(t *testing.T) {
	for name, c := range map[string]struct {
		vars map[string]string
		want Process
	}{
		"alone": {nil, Process{Size: 1, LocalSize: 1, Source: "alone"}},
		"torchrun": {
			map[string]string{"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
				"MASTER_ADDR": "node7", "MASTER_PORT": "29500"},
			Process{Rank: 3, Size: 8, LocalRank: 1, LocalSize: 2, Addr: "node7:28715", Job: "torchrun.29500", Source: "torchrun"},
		},
		"open mpi on one host": {
			map[string]string{"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
				"OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": "123"},
			Process{Rank: 1, Size: 2, LocalRank: 1, LocalSize: 2, Addr: "127.0.0.1:28716", Job: "123", Source: "openmpi"},
		},
		"pmi": {
			map[string]string{"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALRANKID": "0", envAddr: "10.0.0.1:7000", envJob: "j"},
			Process{Size: 2, LocalSize: -1, Addr: "10.0.0.1:7000", Job: "j", Source: "pmi"},
		},
		"slurm on several hosts": {
			map[string]string{"SLURM_STEP_ID": "0", "SLURM_JOB_ID": "77", "SLURM_PROCID": "5", "SLURM_NTASKS": "6",
				"SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "gpu[03-05,9],login1"},
			Process{Rank: 5, Size: 6, LocalRank: 1, LocalSize: -1, Addr: "gpu03:26203", Job: "slurm.77.0", Source: "slurm"},
		},
		"an sbatch script is no step": {
			map[string]string{"SLURM_PROCID": "0", "SLURM_NTASKS": "6"},
			Process{Size: 1, LocalSize: 1, Source: "alone"},
		},
		"kubernetes": {
			map[string]string{"JOB_COMPLETION_INDEX": "2", envSize: "4", "HOSTNAME": "train-2", envService: "mesh"},
			Process{Rank: 2, Size: 4, LocalRank: -1, LocalSize: -1, Addr: "train-0.mesh:29400", Job: "train", Source: "kubernetes"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Detect(Process{}, from(c.vars))
			require.NoError(t, err)
			// the port is a hash: only its range is promised
			if c.want.Source != "pmi" && c.want.Source != "kubernetes" && c.want.Addr != "" {
				require.Regexp(t, `:(2\d{4}|3[01]\d{3})$`, got.Addr)
				got.Addr, c.want.Addr = "", ""
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestDetectPrefersExplicitConfig(t *testing.T) {
	got, err := Detect(Process{Rank: 1, Size: 2, Addr: "127.0.0.1:7"}, from(map[string]string{"RANK": "0", "WORLD_SIZE": "9"}))
	require.NoError(t, err)
	require.Equal(t, Process{Rank: 1, Size: 2, Addr: "127.0.0.1:7", Source: "config"}, got)
	_, err = Detect(Process{Rank: 2, Size: 2, Addr: "127.0.0.1:7"}, from(nil))
	require.ErrorContains(t, err, "rank 2 is outside 0..1")
}

func TestDetectNamesWhatIsWrong(t *testing.T) {
	torch := func(more ...string) map[string]string {
		m := map[string]string{"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "h", "MASTER_PORT": "29500"}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	for name, c := range map[string]struct {
		vars map[string]string
		want string
	}{
		"rank beyond size":  {torch("RANK", "2"), "RANK=2 is outside 0..1"},
		"rank with a space": {torch("RANK", " 1"), `RANK=" 1" is not an integer`},
		"no size":           {torch("WORLD_SIZE", ""), `WORLD_SIZE="" is not an integer`},
		"size zero":         {torch("WORLD_SIZE", "0"), "WORLD_SIZE=0 is outside 1.."},
		"port":              {torch("MASTER_PORT", "65536"), "MASTER_PORT=65536 is outside 1..65535"},
		"local size":        {torch("LOCAL_WORLD_SIZE", "3"), "LOCAL_WORLD_SIZE=3 is outside 1..2"},
		"host with a space": {torch("MASTER_ADDR", "a b"), `host is empty, holds spaces`},
		"own address":       {torch(envAddr, "nowhere"), `SWITCHYARD_ADDR="nowhere"`},
		"mpi on several hosts": {
			map[string]string{"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"},
			"set SWITCHYARD_ADDR to host:port of rank 0",
		},
		"node list": {
			map[string]string{"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "a[1"},
			"SLURM_STEP_NODELIST",
		},
		"indexed job without size":    {map[string]string{"JOB_COMPLETION_INDEX": "0"}, "set SWITCHYARD_WORLD_SIZE"},
		"indexed job without service": {map[string]string{"JOB_COMPLETION_INDEX": "0", envSize: "2", "HOSTNAME": "j-0"}, "set SWITCHYARD_SERVICE"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Detect(Process{}, from(c.vars))
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestFirstHost(t *testing.T) {
	for list, want := range map[string]struct {
		host  string
		alone bool
	}{
		"a": {"a", true}, "a,b": {"a", false}, "n[1-3]": {"n1", false}, "n[007]": {"n007", true},
		"r[1-2]n[08,10]": {"r1n08", false}, "n[4-4].x": {"n4.x", true}, "gpu[03-05,9],login1": {"gpu03", false},
	} {
		host, alone, err := firstHost(list)
		require.NoError(t, err, list)
		require.Equal(t, want.host, host, list)
		require.Equal(t, want.alone, alone, list)
	}
	for _, list := range []string{"", "[", "a]", "a[[1]]", "a[x]", "a[1-]", "a[]", "a b", "a[1,]", strings.Repeat("x", 300)} {
		_, _, err := firstHost(list)
		require.Error(t, err, list)
	}
}

func FuzzFirstHost(f *testing.F) {
	f.Add("gpu[03-05,9],login1")
	f.Add("r[1-2]n[08,10]")
	f.Fuzz(func(t *testing.T, list string) {
		if host, _, err := firstHost(list); err == nil {
			require.NoError(t, checkHost(host))
		}
	})
}

func FuzzDetect(f *testing.F) {
	f.Add("0", "2", "node", "29500", uint8(0))
	f.Add("1", "4", "n[1-4]", "7", uint8(4))
	f.Fuzz(func(t *testing.T, rank, size, host, extra string, which uint8) {
		sets := []map[string]string{
			{"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": host, "MASTER_PORT": extra},
			{"OMPI_COMM_WORLD_RANK": rank, "OMPI_COMM_WORLD_SIZE": size, "OMPI_COMM_WORLD_LOCAL_SIZE": extra},
			{"PMI_RANK": rank, "PMI_SIZE": size, envAddr: host, "MPI_LOCALRANKID": extra},
			{"JOB_COMPLETION_INDEX": rank, envSize: size, "HOSTNAME": host, envService: extra},
			{"SLURM_STEP_ID": extra, "SLURM_PROCID": rank, "SLURM_NTASKS": size, "SLURM_STEP_NODELIST": host},
			{"SLURM_STEP_ID": "0", "SLURM_PROCID": rank, "SLURM_NTASKS": size, "SLURM_STEP_NODELIST": extra, "SLURM_HET_SIZE": size,
				"SLURM_JOB_NODELIST_HET_GROUP_0": host, "SLURM_JOB_NODELIST_HET_GROUP_1": extra},
			{"RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": host, "MASTER_PORT": "1", "TORCHELASTIC_ERROR_FILE": extra},
			{"PMIX_RANK": rank, envSize: size, "PMIX_NAMESPACE": host, envAddr: extra},
			{"RANK": rank, "WORLD_SIZE": size, "OMPI_COMM_WORLD_RANK": host, "OMPI_COMM_WORLD_SIZE": extra},
		}
		p, err := Detect(Process{}, from(sets[int(which)%len(sets)]))
		if err != nil {
			return
		}
		require.NoError(t, p.check())
		require.True(t, p.Size == 1 || p.Addr != "")
		require.True(t, p.Rank >= 0 && int(p.Rank) < p.Size)
	})
}
