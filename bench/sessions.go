package main

import (
	"errors"
	"sync"

	"github.com/reprise-tls/reprise"
)

// The works on single sessions. Each has its counterpart in libssl/works.c.

func (m *meter) parse() (*reprise.Session, error) {
	s, _, err := reprise.ParseSession(m.der)
	return s, err
}

func newSessionFree(m *meter) error {
	return m.timed(func() error {
		for range m.ops {
			reprise.NewSession().Free()
		}
		return nil
	})
}

func upRefFree(m *meter) error { return upRefFreeBy(m, 1) }

func upRefFree2Threads(m *meter) error { return upRefFreeBy(m, 2) }

func upRefFreeBy(m *meter, threads int) error {
	s, err := m.parse()
	if err != nil {
		return err
	}
	if threads == 1 {
		return m.timed(func() error { return upRefFreeAll(s, m.ops) })
	}
	errs := make([]error, threads)
	return m.timed(func() error {
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = upRefFreeAll(s, m.ops) })
		}
		wg.Wait()
		return errors.Join(errs...)
	})
}

func upRefFreeAll(s *reprise.Session, ops int) error {
	for range ops {
		if err := s.UpRef(); err != nil {
			return err
		}
		s.Free()
	}
	return nil
}

func dupFree(m *meter) error {
	s, err := m.parse()
	if err != nil {
		return err
	}
	return m.timed(func() error {
		for range m.ops {
			s.Dup().Free()
		}
		return nil
	})
}

func marshalBinary(m *meter) error {
	s, err := m.parse()
	if err != nil {
		return err
	}
	return m.timed(func() error {
		for range m.ops {
			if _, err := s.MarshalBinary(); err != nil {
				return err
			}
		}
		return nil
	})
}

func parseSession(m *meter) error {
	return m.timed(func() error {
		for range m.ops {
			s, err := m.parse()
			if err != nil {
				return err
			}
			s.Free()
		}
		return nil
	})
}

func parseSessionWithCertificate(m *meter) error { return parseSession(m) }
