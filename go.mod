module github.com/reprise-tls/reprise

go 1.25.7

require (
	golang.org/x/crypto v0.55.0
	pgregory.net/rapid v1.3.0
)
