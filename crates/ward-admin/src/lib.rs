//! Every act of an operator, once.
