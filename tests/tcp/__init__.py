"""TCP servers, connections, transports and streams, over real sockets."""
