"""HTTP/1.1 parsing and framing, without sockets."""
