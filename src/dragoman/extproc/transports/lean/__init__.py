"""The lean transport: HTTP/2 and gRPC for one kind of peer, an Envoy on the same machine.

    server      sockets: bytes from and to asyncio
    calls       gRPC: messages to and from the stream machines
    framing     gRPC's length-prefixed messages
    connection  HTTP/2: frames, streams, windows; with outbox, headers, hpack, huffman, frames

All but `server` is sans-IO. A call costs no task unless it awaits something: what was read from the
socket in one go is answered in one go, with one write. What a peer may ask for is in `limits`.
"""
