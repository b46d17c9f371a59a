package cluster

import (
	"cmp"
	"strings"
)

// CompareNames orders names as people do: numbers in them by their value, so that h2
// comes before h10. It is 0 for the same name only.
func CompareNames(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		p, q := part(x), part(y)
		if c := compareParts(p, q); c != 0 {
			return c
		}
		x, y = x[len(p):], y[len(q):]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(a, b))
}

// part is the digits or the text that s begins with.
func part(s string) string {
	number := digit(s[0])
	i := 1
	for i < len(s) && digit(s[i]) == number {
		i++
	}
	return s[:i]
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func compareParts(p, q string) int {
	if !digit(p[0]) || !digit(q[0]) {
		return strings.Compare(p, q)
	}
	p, q = strings.TrimLeft(p, "0"), strings.TrimLeft(q, "0")
	return cmp.Or(cmp.Compare(len(p), len(q)), strings.Compare(p, q))
}
