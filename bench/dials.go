package main

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/store/dirstore"
)

// The works on dials compare clients of one server, a crypto/tls one in the same
// process, over TCP. In TLS 1.3 each dial takes a session and keeps another.

func dialWarmMemory(m *meter) error {
	d, err := newDials()
	if err != nil {
		return err
	}
	defer d.listener.Close()
	mgr, config, err := d.client(nil)
	if err != nil {
		return err
	}
	defer mgr.Close()
	bare := config.Clone()
	bare.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	return m.compare(d.dial(config), d.dial(bare))
}

func dialWarmDirstore(m *meter) (err error) {
	d, err := newDials()
	if err != nil {
		return err
	}
	defer d.listener.Close()
	dir, err := os.MkdirTemp("", "reprise-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err := dirstore.Open(filepath.Join(dir, "sessions"), dirstore.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	stored, ours, err := d.client(store)
	if err != nil {
		return err
	}
	defer stored.Close()
	inMemory, base, err := d.client(nil)
	if err != nil {
		return err
	}
	defer inMemory.Close()
	if err := m.compare(d.dial(ours), d.dial(base)); err != nil {
		return err
	}
	if store.Stats().Taken < uint64(m.ops) {
		return errors.New("sessions did not come from the dirstore")
	}
	return nil
}

// dials are a server and what its clients need to know.
type dials struct {
	listener net.Listener
	config   *tls.Config // of clients
}

func newDials() (*dials, error) {
	server, client, err := configurations(tls.VersionTLS13)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go serve(tls.NewListener(l, server))
	return &dials{l, client}, nil
}

// serve sends each client a byte, and a session with it, until the listener is closed.
func serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.Write([]byte{0}) // a client that does not get it says so
		}()
	}
}

// client returns a Manager, whose sessions are in the store if there is one, and
// a configuration of its clients.
func (d *dials) client(store reprise.ClientStore) (*reprise.Manager, *tls.Config, error) {
	mgr, err := reprise.New(reprise.Config{ClientStore: store})
	if err != nil {
		return nil, nil, err
	}
	return mgr, mgr.ClientConfig(d.config), nil
}

func (d *dials) dial(config *tls.Config) handshake {
	return func() (resumed bool, err error) {
		c, err := tls.Dial("tcp", d.listener.Addr().String(), config)
		if err != nil {
			return false, err
		}
		_, err = io.ReadFull(c, make([]byte, 1))
		return c.ConnectionState().DidResume, errors.Join(err, c.Close())
	}
}
