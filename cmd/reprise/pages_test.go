package main

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
)

func TestPagesNegotiation(t *testing.T) {
	s := serving(t)
	client := browser(t, true, &tls.Config{})
	const (
		chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
		asHTML = "text/html; charset=utf-8"
		asJSON = "application/json"
	)
	for _, path := range []string{"/", "/stats"} {
		for _, c := range []struct{ query, accept, want string }{
			{"", "", asHTML},
			{"", chrome, asHTML},
			{"", "*/*", asHTML},
			{"", "application/json", asJSON},
			{"", "application/json;q=0.9, */*;q=0.1", asJSON},
			{"?format=json", chrome, asJSON},
		} {
			res, body := s.get(client, path+c.query, c.accept)
			if got := res.Header.Get("Content-Type"); got != c.want || res.StatusCode != http.StatusOK {
				t.Errorf("%s%s, Accept %q: %d %s", path, c.query, c.accept, res.StatusCode, got)
			}
			if c.want == asJSON && !json.Valid([]byte(body)) {
				t.Errorf("%s%s: not JSON: %s", path, c.query, body)
			}
			if c.want == asHTML && (!strings.HasPrefix(body, "<!DOCTYPE html>") || strings.Contains(body, "://")) {
				t.Errorf("%s: not a page, or one with assets from elsewhere: %s", path, body)
			}
		}
	}
}

func TestPagesStatistics(t *testing.T) {
	s := serving(t)
	client := browser(t, false, &tls.Config{})
	s.get(client, "/", "")
	_, body := s.get(client, "/stats?format=json", "")
	var stats struct {
		reprise.Stats
		NotResumed map[string]int `json:"not_resumed"`
	}
	if err := json.Unmarshal([]byte(body), &stats); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if stats.AcceptGood != 2 || stats.NotResumed["nothing offered"] != 2 {
		t.Errorf("after two connections: %s", body)
	}
}

func TestPagesProtocols(t *testing.T) {
	s := serving(t)
	for http2, want := range map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"} {
		res, body := s.get(browser(t, http2, &tls.Config{}), "/", "application/json")
		if res.Proto != want || !strings.Contains(body, `"protocol": "`+want+`"`) {
			t.Errorf("%s: the client has %s, the page %s", want, res.Proto, body)
		}
	}
}

func TestPagesRefuse(t *testing.T) {
	s := serving(t)
	client := browser(t, true, &tls.Config{})
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/nosuch", 404}, {"POST", "/nosuch", 404}, {"GET", "/stats/x", 404}, {"GET", "/index.html", 404},
		{"POST", "/", 405}, {"PUT", "/stats", 405}, {"DELETE", "/", 405},
		{"HEAD", "/", 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "https://"+s.address+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, res.StatusCode, c.want)
		}
		if c.want == 405 && res.Header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
}
