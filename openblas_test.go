//go:build openblas

package switchyard

// productsVary is how far products may differ with the number of rows that are multiplied together:
// OpenBLAS chooses its way by it.
const productsVary = 1e-5
