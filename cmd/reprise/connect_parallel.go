package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/reprise-tls/reprise"
	"github.com/spf13/cobra"
)

// maxParallel bounds the connections at a time.
const maxParallel = 1000

// atOnce makes connections side by side, and prints what became of them. The
// first that cannot be made ends it.
func (f *connectFlags) atOnce(cmd *cobra.Command, d *dialer, out *printer) ([]connectionFacts, error) {
	ctx, cancel := context.WithCancelCause(cmd.Context())
	defer cancel(nil)
	c := &crowd{progress: newProgress(cmd.ErrOrStderr(), (f.reconnect+1)*f.parallel)}
	var all sync.WaitGroup
	for range f.parallel {
		all.Go(func() {
			for range f.reconnect + 1 {
				facts, err := d.connect(ctx)
				if err != nil {
					cancel(err)
					return
				}
				c.add(facts)
			}
		})
	}
	all.Wait()
	c.progress.end()
	if err := context.Cause(ctx); err != nil {
		return c.made, err
	}
	if !f.json {
		c.print(out, f.parallel)
	}
	return c.made, nil
}

// crowd is the connections that were made, as they were.
type crowd struct {
	mu       sync.Mutex
	made     []connectionFacts
	progress *progress
}

func (c *crowd) add(facts connectionFacts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = append(c.made, facts)
	c.progress.tell(len(c.made))
}

// print tells how many connections ended how, and how long handshakes took.
func (c *crowd) print(out *printer, parallel uint) {
	outcomes := make(map[reprise.Reason]int)
	var took []float64
	for _, f := range c.made {
		outcomes[f.Reason]++
		took = append(took, f.HandshakeMS)
	}
	slices.Sort(took)
	out.printf("%d connections, %d at a time\n", len(c.made), parallel)
	for _, r := range slices.SortedFunc(maps.Keys(outcomes), func(a, b reprise.Reason) int {
		return cmp.Or(cmp.Compare(outcomes[b], outcomes[a]), cmp.Compare(a, b))
	}) {
		what := "full handshake, " + r.String()
		if r == reprise.Resumed {
			what = out.style(green, r.String())
		}
		out.printf("%6d  %s\n", outcomes[r], what)
	}
	out.printf("        handshakes took %.2f ms, the slowest %.2f ms\n", took[len(took)/2], took[len(took)-1])
}

// progress is a line on a terminal that says how far it is; nothing elsewhere.
type progress struct {
	w   io.Writer
	all uint
}

func newProgress(w io.Writer, all uint) *progress {
	if !colourful(w) {
		return &progress{}
	}
	return &progress{w, all}
}

func (p *progress) tell(n int) {
	if p.w != nil {
		fmt.Fprintf(p.w, "\r%d of %d connections", n, p.all)
	}
}

// end clears the line.
func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
