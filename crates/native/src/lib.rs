//! barge's own multi-stream protocol, as machines without I/O.
