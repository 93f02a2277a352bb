//! The format of the log, byte by byte.
