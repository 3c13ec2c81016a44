package gotls

import (
	"bytes"
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"os"
	"os/exec"
	"testing"
)

func TestCheck(t *testing.T) {
	if err := Check(); err != nil {
		t.Fatalf("this Go release is not supported: %v", err)
	}
}

// go124 is how Go 1.24 and before kept a session: without curve_id, which an
// older reader takes for trailing bytes and does not write again.
func go124(b []byte) (reread, error) {
	r, err := throughTLS(b)
	if err == nil && r.encoding[0] == 3 && r.encoding[1] <= 3 {
		r.encoding = r.encoding[:len(r.encoding)-2]
	}
	return r, err
}

func TestCheckUnknownLayout(t *testing.T) {
	// edit returns an engine that writes differently from crypto/tls.
	edit := func(f func(r *reread)) func([]byte) (reread, error) {
		return func(b []byte) (reread, error) {
			r, err := throughTLS(b)
			if err == nil {
				f(&r)
			}
			return r, err
		}
	}
	flagsAt := func(r *reread) int { // behind the extra vector
		i := secretOffset + int(r.encoding[secretOffset-1])
		return i + 3 + int(r.encoding[i])<<16 + int(r.encoding[i+1])<<8 + int(r.encoding[i+2])
	}
	for name, engine := range map[string]func([]byte) (reread, error){
		"go 1.24 without curve_id": go124,
		"unreadable":               func([]byte) (reread, error) { return reread{}, errors.New("invalid session encoding") },
		"nothing written":          edit(func(r *reread) { r.encoding = nil }),
		"field added at the end":   edit(func(r *reread) { r.encoding = append(r.encoding, 0) }),
		"field added in front":     edit(func(r *reread) { r.encoding = append([]byte{0}, r.encoding...) }),
		"other type value":         edit(func(r *reread) { r.encoding[2] += 2 }),
		"flags swapped": edit(func(r *reread) {
			i := flagsAt(r)
			r.encoding[i], r.encoding[i+1] = r.encoding[i+1], r.encoding[i]
		}),
		// Written alike but understood differently.
		"early data from another byte": edit(func(r *reread) { r.earlyData = !r.earlyData }),
		"extra from another vector":    edit(func(r *reread) { r.extra = [][]byte{{1}} }),
	} {
		t.Run(name, func(t *testing.T) {
			err := check(engine)
			if !errors.Is(err, ErrLayout) {
				t.Fatalf("check = %v, want ErrLayout", err)
			}
			t.Log(err)
		})
	}
}

// TestSamples proves that the samples are worth checking with: they cover
// every field, and no two bytes of the fixed fields can be confused.
func TestSamples(t *testing.T) {
	type kind struct {
		version uint16
		client  bool
	}
	seen := map[kind]int{}
	for _, s := range samples() {
		seen[kind{s.Version, s.Client}]++
		b, err := s.Append(nil)
		if err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		ss, err := tls.ParseSessionState(b)
		if err != nil {
			t.Fatalf("%v: %v", s, err)
		}
		if ss.EarlyData != s.EarlyData {
			t.Errorf("%v: EarlyData = %v", s, ss.EarlyData)
		}
	}
	for k, n := range seen {
		if n != 2 {
			t.Errorf("%d samples of %v", n, k)
		}
	}
	if len(seen) != 8 {
		t.Errorf("samples of %d kinds, want 8", len(seen))
	}
	leaf, issuer := sampleCertificates()
	if bytes.Equal(leaf, issuer) {
		t.Error("the sample certificates are equal")
	}
}

// TestCheckFIPSOnly runs this test binary again with nothing but FIPS 140
// algorithms: the sample certificate is an Ed25519 one.
func TestCheckFIPSOnly(t *testing.T) {
	const child = "GOTLS_FIPS_CHILD"
	if os.Getenv(child) != "" {
		if !fips140.Enabled() {
			t.Fatal("FIPS 140 mode is off")
		}
		if err := Check(); err != nil {
			t.Fatal(err)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestCheckFIPSOnly$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1", "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestCheckFIPSOnly")) {
		t.Fatalf("%v\n%s", err, out)
	}
}
