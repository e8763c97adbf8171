package main

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
)

// maxAdminConns is how many connections the admin address holds: for a few
// scrapers, and far below the file descriptors that a process may have.
const maxAdminConns = 32

// adminConns are the connections of the admin address, the oldest first. Above
// their limit each new one closes another, so that clients who are slow, or say
// nothing, can't keep others out: the oldest that no answer is being made for,
// or else the oldest.
type adminConns struct {
	mu   sync.Mutex
	open []*adminConn
}

type adminConn struct {
	conn      net.Conn
	answering bool // a whole request has come; guarded by adminConns.mu
}

type adminConnKey struct{}

// attach makes a server use s, when its handler is set.
func (s *adminConns) attach(server *http.Server) {
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, adminConnKey{}, s.add(conn))
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		switch state {
		case http.StateIdle: // the answer has left
			s.answered(conn)
		case http.StateClosed, http.StateHijacked:
			s.remove(conn)
		case http.StateNew, http.StateActive:
		}
	}
	server.Handler = s.answering(server.Handler)
}

// add adds a connection, and closes another one for it where there are too many.
func (s *adminConns) add(conn net.Conn) *adminConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= maxAdminConns {
		victim := max(0, slices.IndexFunc(s.open, func(c *adminConn) bool { return !c.answering }))
		_ = s.open[victim].conn.Close() // its client sees why
		s.open = slices.Delete(s.open, victim, victim+1)
	}
	added := &adminConn{conn: conn}
	s.open = append(s.open, added)
	return added
}

func (s *adminConns) remove(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = slices.DeleteFunc(s.open, func(c *adminConn) bool { return c.conn == conn })
}

// answered marks a connection as idle.
func (s *adminConns) answered(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.open {
		if c.conn == conn {
			c.answering = false
		}
	}
}

// answering marks a connection while next answers a request of it, and until the
// answer has left.
func (s *adminConns) answering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		conn, ok := req.Context().Value(adminConnKey{}).(*adminConn)
		if ok {
			s.mu.Lock()
			conn.answering = true
			s.mu.Unlock()
		}
		next.ServeHTTP(w, req)
	})
}
