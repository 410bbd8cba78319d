//go:build !amd64 || purego

package quant

func encode16(Format, []byte, []float32) int { return 0 }

func decode16(Format, []float32, []byte) int { return 0 }

func largestOf([]float32) (float32, int) { return 0, 0 }

func encode8(Format, []byte, []float32, float32, float32) int { return 0 }

func decode8(Format, []float32, []byte, float32) int { return 0 }
