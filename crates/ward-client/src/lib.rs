//! The other side of the wire: a UDAP client library that others can use alone.
