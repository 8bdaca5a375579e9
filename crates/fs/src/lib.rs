//! Reads and changes trees beneath one root.
