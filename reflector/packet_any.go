package reflector

import "net"

func newTransport(conn net.PacketConn) transport { return newAnyConn(conn) }
