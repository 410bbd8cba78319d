module github.com/switchyard-moe/switchyard/checkpoint/safetensors/testdata/vectors

go 1.26.0
