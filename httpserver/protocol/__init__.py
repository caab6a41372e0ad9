"""HTTP/1.1 itself: parsing and framing, without sockets."""
