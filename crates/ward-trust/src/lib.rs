//! Who vouches for whom. Pure: certificates, lists and time are passed in.
