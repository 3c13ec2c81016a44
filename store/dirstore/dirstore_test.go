package dirstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/store/dirstore"
)

const peer = "peer.test"

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// hooked is a clock that calls a function at one of its next readings.
type hooked struct {
	*clock
	left atomic.Int64
	f    func()
}

// after has the n-th reading from now call f.
func (h *hooked) after(n int64, f func()) {
	h.f = f
	h.left.Store(n)
}

func (h *hooked) now() time.Time {
	if h.left.Add(-1) == 0 {
		h.f()
	}
	return h.clock.now()
}

// in is a time from now.
func (c *clock) in(d time.Duration) time.Time { return c.now().Add(d) }

func open(t testing.TB, dir string, opts dirstore.Options) *dirstore.Store {
	t.Helper()
	s, err := dirstore.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fresh opens a new directory with a clock.
func fresh(t testing.TB, opts dirstore.Options) (*dirstore.Store, *clock, string) {
	t.Helper()
	c, dir := newClock(), filepath.Join(t.TempDir(), "sessions")
	opts.Time = c.now
	return open(t, dir, opts), c, dir
}

func put(t testing.TB, s *dirstore.Store, peer, session string, expires time.Time, once bool) {
	t.Helper()
	if err := s.Put(t.Context(), peer, []byte(session), expires, once); err != nil {
		t.Fatal(err)
	}
}

// take is Take, with "" for none.
func take(t testing.TB, s *dirstore.Store, peer string) string {
	t.Helper()
	session, err := s.Take(t.Context(), peer)
	if err != nil {
		t.Fatal(err)
	}
	return string(session)
}

// takes holds a sequence of Takes to what they return, "" for none.
func takes(t testing.TB, s *dirstore.Store, peer string, want ...string) {
	t.Helper()
	for i, w := range want {
		if got := take(t, s, peer); got != w {
			t.Fatalf("take %d is %q, want %q", i+1, got, w)
		}
	}
}

// entries are what List returns, in the order of the Puts.
func entries(t testing.TB, s *dirstore.Store) (all []dirstore.Entry) {
	t.Helper()
	for e, err := range s.List() {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b dirstore.Entry) int { return a.Put.Compare(b.Put) })
	return all
}

// key is 32 bytes without a pattern.
func key(seed byte) []byte {
	k := []byte("\x3a\xf1\x07\x9c\x55\xe2\x18\xb0\x6d\x24\xc9\x8e\x41\xfa\x03\x77\xd5\x1b\x90\x2c\xee\x68\xa4\x39\x0f\xc6\x52\x8d\x14\xbb\x70\xe9")
	k[0] ^= seed
	return k
}

// kinds are a store without and one with a key.
func kinds(t *testing.T, f func(t *testing.T, opts dirstore.Options)) {
	t.Run("plain", func(t *testing.T) { f(t, dirstore.Options{}) })
	t.Run("sealed", func(t *testing.T) { f(t, dirstore.Options{Key: key(0)}) })
}

func TestTakeNewestFirst(t *testing.T) {
	kinds(t, func(t *testing.T, opts dirstore.Options) {
		s, c, _ := fresh(t, opts)
		takes(t, s, peer, "")
		for i := range 3 { // all at one time
			put(t, s, peer, fmt.Sprint("session ", i), c.in(time.Hour), true)
		}
		put(t, s, "other.test", "other", c.in(time.Hour), true)
		takes(t, s, peer, "session 2", "session 1", "session 0", "")
		takes(t, s, "other.test", "other", "")
		if got, want := s.Stats(), (dirstore.Stats{Puts: 4, Taken: 4, Misses: 3}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

func TestTakeMany(t *testing.T) {
	kinds(t, func(t *testing.T, opts dirstore.Options) {
		s, c, _ := fresh(t, opts)
		put(t, s, peer, "reused", c.in(time.Hour), false)
		put(t, s, peer, "once", c.in(time.Hour), true)
		takes(t, s, peer, "once", "reused", "reused")
		c.advance(time.Hour)
		takes(t, s, peer, "")
		if n := len(entries(t, s)); n != 0 {
			t.Errorf("%d files are left of what expired", n)
		}
	})
}

func TestExpiry(t *testing.T) {
	s, c, _ := fresh(t, dirstore.Options{})
	put(t, s, peer, "at once", c.now(), true)
	put(t, s, peer, "before 1970", time.Time{}, true)
	takes(t, s, peer, "")
	put(t, s, peer, "long", c.in(2*time.Second), true)
	put(t, s, peer, "short", c.in(time.Second), true)
	put(t, s, peer, "for ever", time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), false)
	c.advance(time.Second - 1)
	if err := s.Forget(t.Context(), peer, []byte("for ever")); err != nil {
		t.Fatal(err)
	}
	takes(t, s, peer, "short")
	put(t, s, peer, "short", c.in(1), true)
	c.advance(1)
	takes(t, s, peer, "long", "")
	if got := s.Stats(); got.Pruned != 1 {
		t.Errorf("%+v: 1 had expired", got)
	}
}

// TestShared: what one Store puts another takes, whichever opened first.
func TestShared(t *testing.T) {
	kinds(t, func(t *testing.T, opts dirstore.Options) {
		a, c, dir := fresh(t, opts)
		opts.Time = c.now
		put(t, a, peer, "first", c.in(time.Hour), true)
		b := open(t, dir+"/.", opts)
		c.advance(1)
		put(t, b, peer, "second", c.in(time.Hour), true)
		c.advance(1)
		put(t, a, peer, "third", c.in(time.Hour), true)
		takes(t, b, peer, "third")
		takes(t, a, peer, "second")
		takes(t, b, peer, "first", "")
	})
}

func TestPerPeer(t *testing.T) {
	for limit, want := range map[int]int{0: dirstore.DefaultPerPeer, 1: 1, 3: 3, -1: 20} {
		s, c, _ := fresh(t, dirstore.Options{PerPeer: limit})
		for i := range 20 {
			put(t, s, peer, fmt.Sprint(i), c.in(time.Hour), true)
		}
		for i := range want {
			takes(t, s, peer, fmt.Sprint(19-i))
		}
		takes(t, s, peer, "")
		if got := s.Stats(); got.Pruned != uint64(20-want) {
			t.Errorf("limit %d: %+v", limit, got)
		}
	}
}

// TestPerPeerBesidePuts: sessions that are put while a Take lists others count.
func TestPerPeerBesidePuts(t *testing.T) {
	const limit = 4
	c := &hooked{clock: newClock()}
	s := open(t, filepath.Join(t.TempDir(), "sessions"), dirstore.Options{Time: c.now, PerPeer: limit})
	put(t, s, peer, "first", c.in(time.Hour), true)
	takes(t, s, peer, "first")
	c.after(2, func() { // once its subdirectory is found and its files are listed
		for i := range limit {
			put(t, s, peer, fmt.Sprint(i), c.in(time.Hour), true)
		}
	})
	takes(t, s, peer, "") // listed before
	for i := range limit {
		put(t, s, peer, fmt.Sprint("later ", i), c.in(time.Hour), true)
	}
	if n := len(entries(t, s)); n != limit {
		t.Errorf("%d sessions of a peer, want %d", n, limit)
	}
}

// TestForgetAlone: Forget removes what it is told to and nothing else.
func TestForgetAlone(t *testing.T) {
	s, c, dir := fresh(t, dirstore.Options{PerPeer: 20})
	for i := range 20 {
		put(t, s, peer, fmt.Sprint(i), c.in(time.Hour), true)
	}
	tool := open(t, dir, dirstore.Options{Inspect: true, Time: c.now})
	if err := tool.Forget(t.Context(), peer, []byte("7")); err != nil {
		t.Fatal(err)
	}
	if n := len(entries(t, s)); n != 19 {
		t.Errorf("%d of 20 are left", n)
	}
}

// TestMax: those that expire first go, and one Store never exceeds the limit.
func TestMax(t *testing.T) {
	const limit = 40
	s, c, dir := fresh(t, dirstore.Options{Max: limit, PerPeer: -1})
	for i := range 100 {
		put(t, s, fmt.Sprint("peer ", i%7), fmt.Sprint(i), c.in(time.Hour+time.Duration(i*37%100)), true)
		if n := len(entries(t, s)); n > limit {
			t.Fatalf("%d sessions after Put %d", n, i+1)
		}
	}
	least := func() time.Time {
		all := entries(t, s)
		return slices.MinFunc(all, func(a, b dirstore.Entry) int { return a.Expires.Compare(b.Expires) }).Expires
	}
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := least()
	for _, limit := range []int{8, 1} {
		few := open(t, dir, dirstore.Options{Max: limit, Time: c.now})
		if n := len(entries(t, s)); n != limit || least().Before(before) {
			t.Errorf("%d are left of %d, or others than the last to expire", n, limit)
		}
		for i := range 3 * limit {
			put(t, few, fmt.Sprint(i), "session", c.in(2*time.Hour), true)
			if n := len(entries(t, s)); n > limit {
				t.Errorf("%d sessions, want at most %d", n, limit)
			}
		}
		takes(t, few, fmt.Sprint(3*limit-1), "session")
	}
}

func TestPutRefuses(t *testing.T) {
	s, c, _ := fresh(t, dirstore.Options{})
	for _, n := range []int{0, dirstore.MaxSession + 1} {
		if err := s.Put(t.Context(), peer, make([]byte, n), c.in(time.Hour), true); err == nil || !strings.Contains(err.Error(), fmt.Sprint(n, " bytes")) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	kinds(t, func(t *testing.T, opts dirstore.Options) {
		s, c, _ := fresh(t, opts)
		longest := strings.Repeat("x", dirstore.MaxSession)
		put(t, s, peer, longest, c.in(time.Hour), true)
		takes(t, s, peer, longest)
	})
}

func TestContext(t *testing.T) {
	s, c, _ := fresh(t, dirstore.Options{})
	put(t, s, peer, "session", c.in(time.Hour), false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, taking := s.Take(ctx, peer)
	for call, err := range map[string]error{
		"Put": s.Put(ctx, peer, []byte("x"), c.in(time.Hour), true), "Take": taking,
		"Forget": s.Forget(ctx, peer, nil), "Prune": s.Prune(ctx),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", call, err)
		}
	}
	takes(t, s, peer, "session")
}

func TestForget(t *testing.T) {
	kinds(t, func(t *testing.T, opts dirstore.Options) {
		s, c, _ := fresh(t, opts)
		for _, session := range []string{"a", "b", "c"} {
			put(t, s, peer, session, c.in(time.Hour), true)
		}
		put(t, s, "other.test", "b", c.in(time.Hour), true)
		for _, session := range []string{"b", "not there", "b"} {
			if err := s.Forget(t.Context(), peer, []byte(session)); err != nil {
				t.Fatal(err)
			}
		}
		takes(t, s, peer, "c", "a", "")
		put(t, s, peer, "d", c.in(time.Hour), true)
		put(t, s, peer, "e", c.in(time.Hour), false)
		if err := s.Forget(t.Context(), peer, nil); err != nil {
			t.Fatal(err)
		}
		takes(t, s, peer, "")
		takes(t, s, "other.test", "b")
	})
}

// TestSaltOnce: however many open a new directory at once, they share its salt.
func TestSaltOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	const n = 32
	stores := make([]*dirstore.Store, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			s, err := dirstore.Open(dir, dirstore.Options{PerPeer: -1})
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { s.Close() })
			stores[i] = s
		})
	}
	if wg.Wait(); t.Failed() {
		return
	}
	for i, s := range stores {
		put(t, s, peer, fmt.Sprint(i), time.Now().Add(time.Hour), true)
	}
	for range n {
		if take(t, stores[0], peer) == "" {
			t.Fatal("a Store has another salt")
		}
	}
	stores[0].Close()
	if got := tree(t, dir); len(got) != 2 || got[1] != "salt" { // and an empty subdirectory
		t.Errorf("the directory has %q", got)
	}
}

// tree lists what is below a directory.
func tree(t testing.TB, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
		if name != dir && err == nil {
			rel, _ := filepath.Rel(dir, name)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestModes: what is made is its owner's only.
func TestModes(t *testing.T) {
	s, c, dir := fresh(t, dirstore.Options{})
	put(t, s, peer, "session", c.in(time.Hour), true)
	for _, name := range append(tree(t, dir), ".") {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]fs.FileMode{true: fs.ModeDir | 0o700, false: 0o600}[info.IsDir()]
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode(), want)
		}
	}
}

// TestOthersFilesStay: what is not ours is neither used nor removed.
func TestOthersFilesStay(t *testing.T) {
	s, c, dir := fresh(t, dirstore.Options{})
	put(t, s, peer, "session", c.in(time.Hour), true)
	file := entries(t, s)[0].File
	shard, base := filepath.Split(file)
	others := []string{
		"id_ed25519", "tmp", "tmp-x", "tmp-0-0", "tmp-" + strings.Repeat("0", 33), "zz", "3F", "..x",
		shard + "x", shard + strings.ToUpper(base), shard + base + "x", shard + "salt",
		shard + strings.Replace(base, "-once-", "-some-", 1), shard + "tmp-" + strings.Repeat("g", 16) + "-" + strings.Repeat("0", 16),
	}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("not ours"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(2 * time.Hour)
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, s, peer, "session", c.in(time.Hour), true)
	takes(t, s, peer, "session", "")
	left := tree(t, dir)
	for _, name := range others {
		if !slices.Contains(left, name) {
			t.Errorf("%s was removed", name)
		}
	}
	if n := len(entries(t, s)); n != 0 {
		t.Errorf("List returns %d of them", n)
	}
}

// TestLeftovers: what a killed process left is never taken, stays while it may be
// in use, and is then pruned.
func TestLeftovers(t *testing.T) {
	s, c, dir := fresh(t, dirstore.Options{})
	put(t, s, peer, "session", c.in(24*time.Hour), true)
	file := filepath.Join(dir, entries(t, s)[0].File)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	takes(t, s, peer, "session")
	var left []string
	for i, parent := range []string{dir, filepath.Dir(file)} {
		left = append(left, filepath.Join(parent, fmt.Sprintf("tmp-%016x-%016x", c.now().UnixNano(), i)))
		if err := os.WriteFile(left[i], content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	count := func() (n int) {
		for _, name := range left {
			if _, err := os.Lstat(name); err == nil {
				n++
			}
		}
		return n
	}
	for _, c2 := range []struct {
		pass time.Duration
		want int
	}{{0, 2}, {10 * time.Minute, 2}, {-20 * time.Minute, 2}, {20*time.Minute + 1, 0}} {
		c.advance(c2.pass)
		if err := s.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		takes(t, s, peer, "")
		if n := count(); n != c2.want {
			t.Errorf("after %v more %d are left, want %d", c2.pass, n, c2.want)
		}
	}
}

// TestLeftoversFromTheFuture: a clock that was set back keeps nothing for ever.
func TestLeftoversFromTheFuture(t *testing.T) {
	s, c, dir := fresh(t, dirstore.Options{})
	name := fmt.Sprintf("tmp-%016x-%016x", c.in(time.Hour).UnixNano(), 0)
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); len(got) != 1 || got[0] != "salt" {
		t.Errorf("the directory has %q", got)
	}
}

// TestMisplaced: a session's file where nobody looks for it does not stay, and
// is not listed.
func TestMisplaced(t *testing.T) {
	s, c, dir := fresh(t, dirstore.Options{})
	put(t, s, peer, "session", c.in(time.Hour), true)
	file := filepath.FromSlash(entries(t, s)[0].File)
	elsewhere := map[bool]string{true: "00", false: "01"}[file[:2] != "00"]
	if err := errors.Join(os.Mkdir(filepath.Join(dir, elsewhere), 0o700), os.Rename(filepath.Join(dir, file), filepath.Join(dir, elsewhere, file[3:]))); err != nil {
		t.Fatal(err)
	}
	if n := len(entries(t, s)); n != 0 {
		t.Errorf("%d are listed", n)
	}
	if err := s.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := tree(t, dir); len(got) != 3 || s.Stats().Pruned != 1 { // salt and two subdirectories
		t.Errorf("the directory has %q, %+v", got, s.Stats())
	}
}

// TestRevealsNothing: neither names, nor sealed files, nor the log, nor what
// formatting a Store prints have a peer or a secret in them.
func TestRevealsNothing(t *testing.T) {
	const secret = "the secret of a session"
	kinds(t, func(t *testing.T, opts dirstore.Options) {
		var log bytes.Buffer
		opts.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s, c, dir := fresh(t, opts)
		put(t, s, peer, secret, c.in(time.Hour), false)
		put(t, s, peer, secret, c.in(time.Hour), true)
		all := entries(t, s)
		for _, e := range all {
			content, err := os.ReadFile(filepath.Join(dir, e.File))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(e.File, peer) || bytes.Contains(content, []byte(peer)) {
				t.Error("a file holds its peer")
			}
			if sealed := opts.Key != nil; bytes.Contains(content, []byte(secret)) == sealed {
				t.Errorf("sealed is %t, and the file: %q", sealed, content)
			}
		}
		if err := os.Truncate(filepath.Join(dir, all[1].File), all[1].Size-1); err != nil {
			t.Fatal(err)
		}
		other := open(t, dir, dirstore.Options{Key: key(1), Time: c.now, Logger: opts.Logger})
		takes(t, other, peer, "")
		takes(t, s, peer, secret)
		s.Put(t.Context(), peer, []byte(strings.Repeat(secret, 10000)), c.in(time.Hour), true)
		if log.Len() == 0 {
			t.Error("nothing was logged")
		}
		for _, text := range []string{peer, secret, string(key(0)), fmt.Sprint(key(0))} {
			for what, in := range map[string]string{"log": log.String(), "an entry": fmt.Sprintf("%+v", all)} {
				if strings.Contains(in, text) {
					t.Errorf("%s holds %q", what, text)
				}
			}
		}
	})
}

func TestKey(t *testing.T) {
	for _, bad := range [][]byte{{}, key(0)[:31], append(key(0), 1), make([]byte, 32), bytes.Repeat([]byte("ab"), 16)} {
		if _, err := dirstore.Open(t.TempDir()+"/d", dirstore.Options{Key: bad}); err == nil {
			t.Errorf("a key of %d bytes is taken: %x", len(bad), bad)
		} else if len(bad) > 0 && strings.Contains(err.Error(), string(bad)) {
			t.Errorf("the error holds the key: %v", err)
		}
	}
}

// TestOtherKeys: files of another key, or of none, are passed over and stay.
func TestOtherKeys(t *testing.T) {
	plain, c, dir := fresh(t, dirstore.Options{})
	a := open(t, dir, dirstore.Options{Time: c.now, Key: key(0)})
	b := open(t, dir, dirstore.Options{Time: c.now, Key: key(1)})
	stores := []*dirstore.Store{plain, a, b}
	for i, s := range stores {
		c.advance(1)
		put(t, s, peer, fmt.Sprint(i), c.in(time.Hour), true)
	}
	all := entries(t, plain)
	for i, s := range stores {
		for j, e := range all {
			session, sealed, err := s.Read(e)
			want := error(nil)
			switch {
			case i == j:
			case j == 0:
				want = dirstore.ErrNotSealed
			default:
				want = dirstore.ErrSealed
			}
			if !errors.Is(err, want) || (err == nil) != (string(session) == fmt.Sprint(j)) || sealed != (j > 0) {
				t.Errorf("store %d reads file %d: %q, %t, %v, want %v", i, j, session, sealed, err, want)
			}
		}
	}
	for i, s := range stores {
		takes(t, s, peer, fmt.Sprint(i), "")
		if got := s.Stats(); got.Damaged != 0 || got.Skipped == 0 && i < 2 {
			t.Errorf("store %d: %+v", i, got)
		}
	}
}

func TestList(t *testing.T) {
	kinds(t, func(t *testing.T, opts dirstore.Options) {
		s, c, dir := fresh(t, opts)
		put(t, s, peer, "first", c.in(time.Minute), true)
		c.advance(time.Second)
		put(t, s, "other.test", "second", c.in(time.Hour), false)
		c.advance(time.Hour - time.Nanosecond)
		all := entries(t, s)
		if len(all) != 2 || !all[0].Once || all[1].Once || all[1].Put.Sub(all[0].Put) != time.Second || !all[1].Expires.Equal(c.in(1)) {
			t.Fatalf("%+v", all)
		}
		for i, want := range []string{"first", "second"} {
			session, sealed, err := s.Read(all[i])
			if err != nil || string(session) != want || sealed != (opts.Key != nil) {
				t.Errorf("%q, %t, %v, want %q", session, sealed, err, want)
			}
			info, err := os.Stat(filepath.Join(dir, all[i].File))
			if err != nil || info.Size() != all[i].Size {
				t.Errorf("%v, size %d, want %d", err, all[i].Size, info.Size())
			}
		}
		for range 2 {
			if err := s.Remove(all[0]); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := s.Read(all[0]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what was removed is read: %v", err)
		}
		for range s.List() {
			break // an iteration may end early
		}
		takes(t, s, peer, "")
		takes(t, s, "other.test", "second")
	})
}

// TestInspect: nothing is made or removed that the program did not ask for.
func TestInspect(t *testing.T) {
	empty := t.TempDir()
	if err := os.Chmod(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{empty, filepath.Join(empty, "missing")} {
		if _, err := dirstore.Open(dir, dirstore.Options{Inspect: true}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if got := tree(t, empty); len(got) > 0 {
		t.Errorf("%q were made", got)
	}
	s, c, dir := fresh(t, dirstore.Options{})
	put(t, s, peer, "session", c.in(time.Hour), true)
	c.advance(time.Hour)
	tool := open(t, dir, dirstore.Options{Time: c.now, Inspect: true, Max: 1})
	for i := range 3 {
		put(t, tool, fmt.Sprint(i), "session", c.in(time.Hour), true)
	}
	if n := len(entries(t, tool)); n != 4 {
		t.Errorf("%d are left of 4", n)
	}
	if err := tool.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, got := len(entries(t, tool)), tool.Stats(); n != 1 || got.Pruned != 3 {
		t.Errorf("%d are left, %+v", n, got)
	}
}

func TestClosed(t *testing.T) {
	s, c, _ := fresh(t, dirstore.Options{})
	put(t, s, peer, "session", c.in(time.Hour), true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, taking := s.Take(t.Context(), peer)
	for _, err := range []error{taking, s.Put(t.Context(), peer, []byte("x"), c.in(time.Hour), true), s.Prune(t.Context())} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// TestDirectoryGone: a directory that is removed under a Store costs sessions, no more.
func TestDirectoryGone(t *testing.T) {
	s, c, dir := fresh(t, dirstore.Options{})
	put(t, s, peer, "session", c.in(time.Hour), true)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	takes(t, s, peer, "")
	if err := s.Put(t.Context(), peer, []byte("x"), c.in(time.Hour), true); err == nil {
		t.Error("Put into nothing succeeds")
	}
	open(t, dir, dirstore.Options{})
}
