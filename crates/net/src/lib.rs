//! Carries bytes between pods: TCP, TLS, backoff.
