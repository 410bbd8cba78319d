//go:build !openblas

package switchyard

const productsVary = 0
