//! Pieces of DER that certificates and lists share: signed envelopes, names, times, URIs.
