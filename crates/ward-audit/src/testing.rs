//! Doubles for tests of this and other rooms.
