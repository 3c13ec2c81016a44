package main

import (
	"bytes"
	_ "embed"
	"html/template"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/reprise-tls/reprise"
)

// connectionPage is what serve shows of a connection.
type connectionPage struct {
	Resumed    bool           `json:"resumed"`
	Reason     reprise.Reason `json:"reason"`      // why not; "resumed" if so
	Protocol   string         `json:"protocol"`    // HTTP/1.1, HTTP/2.0
	ServerName string         `json:"server_name"` // what the client asked for
	Session    *sessionFacts  `json:"session"`
}

//go:embed pages.html
var pagesHTML string

var templates = template.Must(template.New("").Parse(pagesHTML))

// newPages is the site: what sessions managed by m look like.
func newPages(m *reprise.Manager) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		page := connectionPage{Protocol: r.Proto, ServerName: r.TLS.ServerName}
		if resumption, ok := reprise.ResumptionFromContext(r.Context()); ok {
			page.Resumed, page.Reason = resumption.Resumed, resumption.Reason
		}
		page.Session = factsOf(reprise.FromContext(r.Context()))
		answer(w, r, "connection", page)
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, "stats", m.Stats())
	})
	return mux
}

// answer writes v as JSON, or through the template of that name. It ends the
// connection (in HTTP/2, net/http turns the header into GOAWAY).
func answer(w http.ResponseWriter, r *http.Request, name string, v any) {
	var body bytes.Buffer
	var err error
	h := w.Header()
	if wantsJSON(r) {
		h.Set("Content-Type", "application/json")
		err = writeJSON(&body, v)
	} else {
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:")
		err = templates.ExecuteTemplate(&body, name, v)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Connection", "close")
	w.Write(body.Bytes())
}

// wantsJSON reports whether JSON was asked for: by ?format=json, or by naming
// it in Accept and not HTML.
func wantsJSON(r *http.Request) bool {
	if r.URL.Query().Get("format") == "json" {
		return true
	}
	var types []string
	for _, header := range r.Header.Values("Accept") {
		for _, part := range strings.Split(header, ",") {
			if t, _, err := mime.ParseMediaType(part); err == nil {
				types = append(types, t)
			}
		}
	}
	return slices.Contains(types, "application/json") && !slices.Contains(types, "text/html")
}
