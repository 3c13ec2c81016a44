package asn1sess

import (
	"math"
	"testing"
)

func TestVerifyText(t *testing.T) {
	o := newJudge(t).oracle
	codes := []int32{math.MinInt32, math.MaxInt32}
	for code := int32(-10); code < 500; code++ {
		codes = append(codes, code)
	}
	for _, code := range codes {
		if got, want := VerifyText(code), o.VerifyText(int64(code)); got != want {
			t.Errorf("%d: %q, libssl %q", code, got, want)
		}
	}
}
