package oracle

// Handle names an SSL_SESSION object in the oracle. It stays a name after [Oracle.Release],
// so that a later event can be told.
type Handle int64

// None stands for no session.
const None Handle = -1

// Decode makes an SSL_SESSION from DER, or [None] where libssl refuses it. The handle holds
// one reference.
func (o *Oracle) Decode(der []byte) Handle {
	o.t.Helper()
	return Handle(o.one(request('n').bytes(der)).number())
}

// Dup is SSL_SESSION_dup.
func (o *Oracle) Dup(s Handle) Handle {
	o.t.Helper()
	return Handle(o.one(request('d').number(int64(s))).number())
}

// Release gives back the handle's reference (SSL_SESSION_free). The session may be named
// afterwards only while a cache holds it.
func (o *Oracle) Release(s Handle) {
	o.t.Helper()
	o.one(request('f').number(int64(s)))
}

// SetID sets the version and the id, which together are the key of a cache.
func (o *Oracle) SetID(s Handle, version uint16, id []byte) bool {
	o.t.Helper()
	return o.one(request('i').number(int64(s)).number(int64(version)).bytes(id)).yes()
}

// SetTime is SSL_SESSION_set_time, with its result.
func (o *Oracle) SetTime(s Handle, t int64) int64 {
	o.t.Helper()
	return o.one(request('t').number(int64(s)).number(t)).number()
}

// SetTimeout is SSL_SESSION_set_timeout.
func (o *Oracle) SetTimeout(s Handle, t int64) bool {
	o.t.Helper()
	return o.one(request('o').number(int64(s)).number(t)).yes()
}

// SetHostname is SSL_SESSION_set1_hostname.
func (o *Oracle) SetHostname(s Handle, name string) bool {
	o.t.Helper()
	return o.one(request('h').number(int64(s)).bytes([]byte(name))).yes()
}

// Encode is i2d_SSL_SESSION.
func (o *Oracle) Encode(s Handle) []byte {
	o.t.Helper()
	return o.one(request('e').number(int64(s))).bytes()
}

// State is what the cache may change of a session.
func (o *Oracle) State(s Handle) (time, timeout int64, resumable bool) {
	o.t.Helper()
	state := o.States(s)[0]
	return state.Time, state.Timeout, state.Resumable
}

// SessionState is what the cache may change of a session.
type SessionState struct {
	Time, Timeout int64
	Resumable     bool
}

// States are the states of several sessions.
func (o *Oracle) States(sessions ...Handle) []SessionState {
	o.t.Helper()
	requests := make([]*message, len(sessions))
	for i, s := range sessions {
		requests[i] = request('s').number(int64(s))
	}
	states := make([]SessionState, len(sessions))
	o.ask(requests, func(i int, a *answer) {
		states[i] = SessionState{Time: a.number(), Timeout: a.number(), Resumable: a.yes()}
	})
	return states
}

// Context is an SSL_CTX with its session cache.
type Context struct {
	o *Oracle
	i int64
}

// NewContext makes an SSL_CTX. The mode is made of libssl's SSL_SESS_CACHE numbers.
func (o *Oracle) NewContext(cacheSize, mode, timeout int64) *Context {
	o.t.Helper()
	a := o.one(request('N').number(cacheSize).number(mode).number(timeout))
	return &Context{o: o, i: a.number()}
}

func (c *Context) request(op byte) *message { return request(op).number(c.i) }

// Free is SSL_CTX_free. Afterwards only Events may be called.
func (c *Context) Free() {
	c.o.t.Helper()
	c.o.one(c.request('X'))
}

// Add is SSL_CTX_add_session.
func (c *Context) Add(s Handle) bool {
	c.o.t.Helper()
	return c.o.one(c.request('A').number(int64(s))).yes()
}

// Remove is SSL_CTX_remove_session.
func (c *Context) Remove(s Handle) bool {
	c.o.t.Helper()
	return c.o.one(c.request('R').number(int64(s))).yes()
}

// Lookup finds a session in the hash that SSL_CTX_sessions gives, or [None].
func (c *Context) Lookup(version uint16, id []byte) Handle {
	c.o.t.Helper()
	return Handle(c.o.one(c.request('L').number(int64(version)).bytes(id)).number())
}

// Flush is SSL_CTX_flush_sessions; t is in seconds since 1970, or 0 for all.
func (c *Context) Flush(t int64) {
	c.o.t.Helper()
	c.o.one(c.request('F').number(t))
}

// SetCacheSize is SSL_CTX_sess_set_cache_size, with its result: the size before.
func (c *Context) SetCacheSize(n int64) int64 {
	c.o.t.Helper()
	return c.o.one(c.request('S').number(n)).number()
}

// SetMode is SSL_CTX_set_session_cache_mode, with its result: the mode before.
func (c *Context) SetMode(mode int64) int64 {
	c.o.t.Helper()
	return c.o.one(c.request('M').number(mode)).number()
}

// Counts are SSL_CTX_sess_number and SSL_CTX_sess_cache_full.
func (c *Context) Counts() (number, cacheFull int64) {
	c.o.t.Helper()
	a := c.o.one(c.request('C'))
	return a.number(), a.number()
}

// Sessions lists what is cached, in no order.
func (c *Context) Sessions() []Handle {
	c.o.t.Helper()
	a := c.o.one(c.request('l'))
	all := make([]Handle, a.number())
	for i := range all {
		all[i] = Handle(a.number())
	}
	return all
}

// Event is one call of a context's callbacks.
type Event struct {
	Removed bool // remove_cb; else new_cb
	Session Handle
}

// Events are the calls of new_cb and remove_cb since the last call of Events, in order.
func (c *Context) Events() []Event {
	c.o.t.Helper()
	a := c.o.one(c.request('E'))
	events := make([]Event, a.number())
	for i := range events {
		events[i] = Event{Removed: a.number() == 'r', Session: Handle(a.number())}
	}
	return events
}
