#!/usr/bin/env bash
# MPICH 5.0.2 (the wheel of PyPI): no variable that mpiexec sets tells one launch from another. Rank 0 of two jobs that
# run on one host at the same time has the same variables, to the byte, so a program that finds its peers by rank, size and host
# (a rendezvous, files in a shared folder) mixes the two jobs up. Open MPI and Slurm set a name or number of the job.
# Seen: in two launches, started at once, the variables of rank 0 that mpiexec adds differ in nothing.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check mpich==5.0.2
mpiexec="$dir/venv/bin/mpiexec"
"$mpiexec" --version | sed -n 's/^ *Version: */mpiexec /p'
added() { # added FILE: what mpiexec adds to rank 0's environment, while the job of the other launch runs too
  env -i PATH="$PATH" "$mpiexec" -n 2 sh -c 'sleep 2; [ "$PMI_RANK" != 0 ] || env' | grep -Ev '^(PATH|PWD|SHLVL|_)=' | sort >"$1"
}
added "$dir/a" & added "$dir/b" & wait
echo "rank 0 of one launch:"
cat "$dir/a"
[ -s "$dir/a" ] && grep -q '^PMI_SIZE=2' "$dir/a" || { echo "mpiexec started no rank as expected"; exit 1; }
if diff "$dir/a" "$dir/b"; then
  echo "rank 0 of the other launch: the same"
else
  echo "the launches can be told apart now"
  exit 1
fi
