//! Trees, real peers, faulty streams and paired machines, for tests.
