module github.com/switchyard-moe/switchyard/models/testdata/goldens

go 1.26.0
