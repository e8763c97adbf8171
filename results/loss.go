package results

import "math"

// UpperBound95 returns the one-sided upper 95 % confidence bound of a loss
// rate, 0 to 1, after lost of sent packets were lost: the largest rate at which
// so few losses are not rarer than 1 in 20. It is 1 where nothing was sent or
// nothing arrived. A negative lost counts as 0.
//
// The bound is exact for independent losses: C. J. Clopper and E. S. Pearson,
// "The use of confidence or fiducial limits illustrated in the case of the
// binomial", Biometrika 26 (1934).
func UpperBound95(lost, sent int) float64 { return upperBound(lost, sent, 0.05) }

// Interval95 returns the two-sided 95 % confidence interval of a share, 0 to 1,
// of which hits of tries were seen. It is all of 0 to 1 without tries. As
// UpperBound95, it is Clopper and Pearson's, and so exact for independent tries.
func Interval95(hits, tries int) (low, high float64) {
	return 1 - upperBound(tries-hits, tries, 0.025), upperBound(hits, tries, 0.025)
}

// upperBound is the largest rate at which so few losses have at least the
// probability tail.
func upperBound(lost, sent int, tail float64) float64 {
	lost = max(lost, 0)
	if sent <= 0 || lost >= sent {
		return 1
	}
	low, high := float64(lost)/float64(sent), 1.0
	// 60 halvings reach the resolution of a float64.
	for range 60 {
		mid := (low + high) / 2
		if binomialCDF(lost, sent, mid) > tail {
			low = mid
		} else {
			high = mid
		}
	}
	return high
}

// NewLoss returns the loss of a path on which lost of sent packets were lost,
// with its rate and bound.
func NewLoss(lost, sent int) Loss {
	l := Loss{Sent: sent, Lost: lost, Upper95: UpperBound95(lost, sent)}
	if sent > 0 {
		l.Rate = float64(lost) / float64(sent)
	}
	return l
}

// binomialCDF returns the probability of k or fewer successes in n tries of
// probability p, for 0 <= k < n and p at least k/n. Below the mean the terms
// fall as k does, so it sums downwards and stops where they no longer matter.
func binomialCDF(k, n int, p float64) float64 {
	if p >= 1 {
		return 0
	}
	if p <= 0 {
		return 1
	}
	lg := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	term := math.Exp(lg(n) - lg(k) - lg(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	sum := term
	for i := k; i > 0 && term > sum*1e-17; i-- {
		term *= float64(i) / float64(n-i+1) * (1 - p) / p
		sum += term
	}
	return min(sum, 1)
}
