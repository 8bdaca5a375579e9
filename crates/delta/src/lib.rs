//! Signatures and deltas over byte slices.
