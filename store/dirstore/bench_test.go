package dirstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/store/dirstore"
)

// BenchmarkTakePut is a Take and a Put of a session for one use, as a dial does
// them, of each of some peers in turn, in a directory of so many other sessions.
func BenchmarkTakePut(b *testing.B) {
	for _, kind := range []struct {
		name string
		key  []byte
	}{{"plain", nil}, {"sealed", key(0)}} {
		for _, files := range []int{0, 300, 7000} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, files), func(b *testing.B) {
				s, expires := filled(b, kind.key, files)
				session, peers := string(make([]byte, 2000)), make([]string, 20)
				for i := range peers {
					peers[i] = fmt.Sprint("server ", i)
					put(b, s, peers[i], session, expires, true)
				}
				for i := 0; b.Loop(); i++ {
					peer := peers[i%len(peers)]
					if take(b, s, peer) == "" {
						b.Fatal("not there")
					}
					put(b, s, peer, session, expires, true)
				}
			})
		}
	}
}

// BenchmarkTake is a Take of a session for many uses, which stays.
func BenchmarkTake(b *testing.B) {
	for _, files := range []int{1, 300, 7000} {
		b.Run(fmt.Sprint(files), func(b *testing.B) {
			s, _ := filled(b, nil, files)
			for b.Loop() {
				if take(b, s, "peer 0") == "" {
					b.Fatal("not there")
				}
			}
		})
	}
}

// BenchmarkFiles is what the file system takes for the least that a Put and a
// Take could do: write, rename, read, remove.
func BenchmarkFiles(b *testing.B) {
	dir := b.TempDir()
	tmp, file, session := filepath.Join(dir, "tmp"), filepath.Join(dir, "file"), make([]byte, 2000)
	for b.Loop() {
		err := os.WriteFile(tmp, session, 0o600)
		if err == nil {
			err = os.Rename(tmp, file)
		}
		if err == nil {
			_, err = os.ReadFile(file)
		}
		if err == nil {
			err = os.Remove(file)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// filled is a directory of so many sessions, two of each peer.
func filled(b *testing.B, key []byte, files int) (s *dirstore.Store, expires time.Time) {
	s = open(b, filepath.Join(b.TempDir(), "d"), dirstore.Options{Key: key})
	expires = time.Now().Add(time.Hour)
	for i := range files {
		put(b, s, fmt.Sprint("peer ", i/2), string(make([]byte, 2000)), expires, false)
	}
	return s, expires
}
