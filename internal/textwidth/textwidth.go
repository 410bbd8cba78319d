// Package textwidth bounds the width of text in a picture when the reader's fonts are unknown: an
// SVG names several fonts, and the reader's program takes the first that it has.
package textwidth

// Sans is the value of font-family that pictures use: the fonts with the widths of Arial first,
// then what systems without those have.
const Sans = "Liberation Sans, Arial, Helvetica, DejaVu Sans, sans-serif"

// advances are the widths of the characters from blank to tilde, in thousandths of the font size:
// of each character the wider of those in DejaVu Sans and in Liberation Sans, which has the widths
// of Arial and Helvetica.
var advances = [...]uint16{
	318, 401, 460, 838, 637, 951, 780, 275, 391, 391, 500, 838, 318, 361, 318, 337, // blank to /
	637, 637, 637, 637, 637, 637, 637, 637, 637, 637, 337, 337, 838, 838, 838, 557, // 0 to ?
	1016, 685, 687, 723, 771, 667, 611, 778, 752, 295, 500, 667, 558, 863, 749, 788, // @ to O
	667, 788, 723, 667, 611, 732, 685, 989, 686, 667, 686, 391, 337, 391, 838, 557, // P to _
	500, 613, 635, 550, 635, 616, 353, 635, 634, 278, 278, 580, 278, 975, 634, 612, // ` to o
	635, 635, 412, 521, 393, 634, 592, 818, 592, 592, 525, 637, 337, 637, 838, // p to ~
}

// others are those of some characters that are not in ASCII.
var others = map[rune]uint16{
	'µ': 637, '·': 318, '×': 838, '–': 500, '→': 838, '←': 838, '²': 401, '³': 401, '°': 500, '−': 838, '≤': 838, '≥': 838,
}

// Bold is how much wider bold text is, at most.
const Bold = 1.15

// Of returns a width that text is not wider than, in the unit of the font's size, in any of the
// fonts of [Sans].
func Of(text string, size float64) float64 {
	sum := 0
	for _, r := range text {
		switch other, ok := others[r]; {
		case r >= ' ' && r <= '~':
			sum += int(advances[r-' '])
		case ok:
			sum += int(other)
		default:
			sum += 1000
		}
	}
	return float64(sum) / 1000 * size
}
