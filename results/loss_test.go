package results

import (
	"math"
	"testing"
)

func TestUpperBound95(t *testing.T) {
	for _, tt := range []struct {
		lost, sent int
		want       float64
	}{
		{0, 0, 1}, {0, -1, 1}, {5, 5, 1}, {6, 5, 1},
		{0, 1, 0.95},
		{0, 10, 1 - math.Pow(0.05, 0.1)},
		{-1, 10, 1 - math.Pow(0.05, 0.1)},
		{0, 300, 1 - math.Pow(0.05, 1.0/300)},
		{9, 10, math.Pow(0.95, 0.1)}, // 1 - p^10 = 0.05
		// Solved in exact rational arithmetic.
		{1, 10, 0.394163302},
		{2, 20, 0.282618525},
		{5, 100, 0.102253378},
		{10, 100, 0.163717623},
	} {
		if got := UpperBound95(tt.lost, tt.sent); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("UpperBound95(%d, %d) = %.8f, want %.8f", tt.lost, tt.sent, got, tt.want)
		}
	}
}

// TestUpperBound95Coverage checks the definition itself: at the bound, that
// few losses have a probability of 5 %, summed here in the plain way.
func TestUpperBound95Coverage(t *testing.T) {
	for _, sent := range []int{3, 17, 50, 400} {
		for lost := 0; lost < sent; lost += 1 + sent/13 {
			p := UpperBound95(lost, sent)
			var sum float64
			for k := 0; k <= lost; k++ {
				a, _ := math.Lgamma(float64(sent + 1))
				b, _ := math.Lgamma(float64(k + 1))
				c, _ := math.Lgamma(float64(sent - k + 1))
				sum += math.Exp(a - b - c + float64(k)*math.Log(p) + float64(sent-k)*math.Log1p(-p))
			}
			if math.Abs(sum-0.05) > 1e-9 {
				t.Errorf("%d of %d: P(X <= lost) at the bound %.6f is %.12f, want 0.05", lost, sent, p, sum)
			}
		}
	}
}

func TestUpperBound95Large(t *testing.T) {
	// For many packets the bound nears the rate plus 1.645 standard errors.
	got := UpperBound95(100_000, 1_000_000)
	want := 0.1 + 1.644854*math.Sqrt(0.1*0.9/1e6)
	if math.Abs(got-want) > 2e-6 {
		t.Errorf("UpperBound95(1e5, 1e6) = %.8f, want about %.8f", got, want)
	}
}

func TestNewLoss(t *testing.T) {
	if got := NewLoss(0, 0); got.Rate != 0 || got.Upper95 != 1 {
		t.Errorf("NewLoss(0, 0) = %+v, want rate 0 and bound 1", got)
	}
	if got := NewLoss(1, 10); got.Rate != 0.1 || got.Sent != 10 || got.Lost != 1 || got.Upper95 <= got.Rate {
		t.Errorf("NewLoss(1, 10) = %+v", got)
	}
}
