module github.com/switchyard-moe/switchyard/bench/testdata/goldens

go 1.26.0
