//go:build !amd64 || purego

package quant

func encode16(Format, []byte, []float32) int { return 0 }

func decode16(Format, []float32, []byte) int { return 0 }

func largestOf([]float32) (float32, int) { return 0, 0 }

func encode8(Format, []byte, []float32, float32, float32) int { return 0 }

func decode8(Format, []float32, []byte, float32) int { return 0 }

func maxima16(*groups, []float32) int { return 0 }

func nvScales(*groups, float32, int) int { return 0 }

func encode4([]byte, []float32, *groups, int) int { return 0 }

func decode4([]float32, []byte, *[256]float32, float32, int) int { return 0 }

func encodeInts([]byte, []float32, float32) int { return 0 }

func decodeInts([]float32, []byte, float32) int { return 0 }
