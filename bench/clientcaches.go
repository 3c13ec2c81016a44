package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/reprise-tls/reprise"
)

// The works on the memory of clients compare it with crypto/tls's own.

func clientCache64(m *meter) error           { return m.clientCache(64) }
func clientCache64Threads2(m *meter) error   { return m.clientCache(64) }
func clientCache100k(m *meter) error         { return m.clientCache(min(100_000, m.size)) }
func clientCache100kThreads2(m *meter) error { return m.clientCache(min(100_000, m.size)) }

// clientCacheBlocks is how often the two take turns: what else the machine does
// meets both.
const clientCacheBlocks = 20

// clientCache takes the time of taking and keeping the session of each peer. The
// value and the base are the medians of the blocks.
func (m *meter) clientCache(peers int) error {
	mgr, err := reprise.New(reprise.Config{Peers: peers})
	if err != nil {
		return err
	}
	defer mgr.Close()
	session, err := receivedSession()
	if err != nil {
		return err
	}
	caches := []tls.ClientSessionCache{mgr.ClientConfig(nil).ClientSessionCache, tls.NewLRUClientSessionCache(peers)}
	for _, c := range caches {
		for i := range peers {
			c.Put(peerName(i), session)
		}
	}
	// Names in the order in which they are asked for, so that it takes no time to
	// read them: whoever dials has just made his.
	names := make([]string, peers)
	for i := range names {
		names[i] = peerName(scattered(i, peers))
	}
	runtime.GC()
	var took [2][]float64
	for block := range clientCacheBlocks {
		for i := range caches {
			i = (i + block) % 2
			ns, err := m.takeAndKeep(caches[i], names)
			if err != nil {
				return err
			}
			took[i] = append(took[i], ns)
		}
	}
	m.measured = []float64{newSpread(took[0]).Median, newSpread(took[1]).Median}
	return nil
}

func peerName(i int) string { return fmt.Sprintf("host%d.example.com", i) }

// takeAndKeep does a block with each thread, on peers of its own: of two who take
// one session, one finds none. It returns the nanoseconds of one Get and one Put.
func (m *meter) takeAndKeep(cache tls.ClientSessionCache, names []string) (ns float64, err error) {
	n := max(m.ops/clientCacheBlocks, 1)
	part := len(names) / m.threads
	errs := make([]error, m.threads)
	start := m.now()
	var wg sync.WaitGroup
	for thread := range m.threads {
		wg.Go(func() { errs[thread] = takeAndKeep(cache, names[thread*part:][:part], n) })
	}
	wg.Wait()
	return float64((m.now() - start).Nanoseconds()) / float64(n), errors.Join(errs...)
}

func takeAndKeep(cache tls.ClientSessionCache, names []string, n int) error {
	for i := range n {
		name := names[i%len(names)]
		session, ok := cache.Get(name)
		if !ok {
			return fmt.Errorf("no session for %s", name)
		}
		cache.Put(name, session)
	}
	return nil
}

// receivedSession returns what a server of crypto/tls gave a client.
func receivedSession() (*tls.ClientSessionState, error) {
	server, client, err := configurations(tls.VersionTLS13)
	if err != nil {
		return nil, err
	}
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	if _, err := (&arm{server, client}).handshake(); err != nil {
		return nil, err
	}
	session, ok := client.ClientSessionCache.Get(client.ServerName)
	if !ok {
		return nil, errors.New("the server gave no session")
	}
	return session, nil
}
