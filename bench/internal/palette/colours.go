// Package palette holds the colours of charts.
package palette

import "image/color"

// Of is the colour of the l-th of several things. Neighbours are colours that colour-blind readers
// can tell apart.
func Of(l int) color.Color {
	four := fourColours()
	return four[l%len(four)]
}

// OfCurve is the colour of the i-th curve of a chart; the seventh is black.
func OfCurve(i int) color.Color {
	all := append(fourColours(),
		color.NRGBA{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff}, color.NRGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff}, color.Black)
	return all[i%len(all)]
}

func fourColours() []color.Color {
	return []color.Color{
		color.NRGBA{R: 0x00, G: 0x72, B: 0xb2, A: 0xff}, color.NRGBA{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff},
		color.NRGBA{R: 0x00, G: 0x9e, B: 0x73, A: 0xff}, color.NRGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff},
	}
}
