//! The mover, and the API to embed.
